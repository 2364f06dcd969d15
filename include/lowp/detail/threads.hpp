// Work on index ranges, shared among threads that are kept. What is computed never depends on how
// many there are: ranges only say who does it.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace lowp::detail {

/// Workers that wait for the next call. One call runs at a time; a second caller, or a worker that
/// calls again, does its work alone. After fork() the child starts its own.
class thread_pool {
public:
    using task = std::function<void(std::size_t part)>;

    static thread_pool& instance() {
        static std::mutex guard;
        static std::unique_ptr<thread_pool> pool;
        const std::lock_guard lock(guard);
        if (pool != nullptr && pool->process_ != process())
            (void)pool.release();  // threads stayed behind
        if (pool == nullptr) pool = std::make_unique<thread_pool>();
        return *pool;
    }

    thread_pool() = default;
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;
    thread_pool(thread_pool&&) = delete;
    thread_pool& operator=(thread_pool&&) = delete;
    ~thread_pool() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) worker.join();
    }

    /// work(0) .. work(parts - 1), each once, on the caller and up to parts - 1 workers.
    void run(std::size_t parts, const task& work) {
        const std::unique_lock busy(busy_, std::try_to_lock);
        if (parts < 2 || !busy.owns_lock()) {
            for (std::size_t part = 0; part < parts; ++part) work(part);
            return;
        }
        {
            const std::lock_guard lock(mutex_);
            while (workers_.size() + 1 < parts) workers_.emplace_back([this] { serve(); });
            work_ = &work;
            parts_ = parts;
            next_ = 0;
            unfinished_ = parts;
        }
        wake_.notify_all();
        while (take_one()) {
        }
        std::unique_lock lock(mutex_);
        done_.wait(lock, [this] { return unfinished_ == 0; });
        work_ = nullptr;
    }

private:
    static long process() {
#if defined(__unix__) || defined(__APPLE__)
        return static_cast<long>(getpid());
#else
        return 0;
#endif
    }

    bool take_one() {
        const task* work = nullptr;
        std::size_t part = 0;
        {
            const std::lock_guard lock(mutex_);
            if (work_ == nullptr || next_ >= parts_) return false;
            work = work_;
            part = next_++;
        }
        (*work)(part);
        const std::lock_guard lock(mutex_);
        if (--unfinished_ == 0) done_.notify_one();
        return true;
    }

    void serve() {
        while (true) {
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock,
                           [this] { return stopping_ || (work_ != nullptr && next_ < parts_); });
                if (stopping_) return;
            }
            while (take_one()) {
            }
        }
    }

    std::mutex busy_, mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> workers_;
    const task* work_ = nullptr;
    std::size_t parts_ = 0, next_ = 0, unfinished_ = 0;
    bool stopping_ = false;
    long process_ = process();
};

/// Elements below which one thread is faster.
inline constexpr std::size_t parallel_from = std::size_t{1} << 17;

/// work(begin, end) over [0, n), in ranges that begin at multiples of `grain`. threads: 0 means all
/// cores for arrays from `parallel_from` elements on, one below.
template <class Work>
void for_ranges(std::size_t n, int threads, std::size_t grain, const Work& work) {
    auto parts = static_cast<std::size_t>(std::max(threads, 1));
    if (threads == 0 && n >= parallel_from)
        parts = std::max<std::size_t>(std::thread::hardware_concurrency(), 1);
    const std::size_t grains = (n + grain - 1) / grain;
    parts = std::min(parts, grains);
    if (parts < 2) {
        if (n > 0) work(std::size_t{0}, n);
        return;
    }
    thread_pool::instance().run(parts, [&](std::size_t part) {
        const std::size_t begin = grains * part / parts * grain;
        const std::size_t end = std::min(n, grains * (part + 1) / parts * grain);
        if (begin < end) work(begin, end);
    });
}

}  // namespace lowp::detail
