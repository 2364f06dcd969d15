// Work on index ranges, shared among threads that are kept. What is computed never depends on how
// many there are: ranges only say who does it.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace lowp::detail {

/// Workers that wait for the next call. One call at a time has them; another one meanwhile, or one
/// from within, does its work alone. Never destroyed: a child of fork() has the pool but not its
/// threads, and could not join them at exit. It starts its own.
class thread_pool {
public:
    using task = std::function<void(std::size_t part)>;

    static thread_pool& instance() {
        static std::mutex guard;
        static thread_pool* pool = nullptr;
        const std::lock_guard lock(guard);
        if (pool == nullptr || pool->process_ != process()) pool = new thread_pool;
        return *pool;
    }

    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;
    thread_pool(thread_pool&&) = delete;
    thread_pool& operator=(thread_pool&&) = delete;
    ~thread_pool() = delete;

    /// work(0) .. work(parts - 1), each once, on the caller and up to parts - 1 workers: fewer where
    /// the system has no more threads to give. work must not throw.
    void run(std::size_t parts, const task& work) {
        if (parts < 2 || busy_.test_and_set(std::memory_order_acquire)) {
            for (std::size_t part = 0; part < parts; ++part) work(part);
            return;
        }
        hire(parts - 1);
        {
            const std::lock_guard lock(mutex_);
            work_ = &work;
            parts_ = parts;
            next_ = 0;
            unfinished_ = parts;
        }
        wake_.notify_all();
        while (take_one()) {
        }
        {
            std::unique_lock lock(mutex_);
            done_.wait(lock, [this] { return unfinished_ == 0; });
            work_ = nullptr;
        }
        busy_.clear(std::memory_order_release);
    }

private:
    thread_pool() = default;

    static long process() {
#if defined(__unix__) || defined(__APPLE__)
        return static_cast<long>(getpid());
#else
        return 0;
#endif
    }

    void hire(std::size_t wanted) {
        try {
            while (workers_ < wanted) {
                std::thread([this] { serve(); }).detach();
                ++workers_;
            }
        } catch (const std::system_error&) {
            // No more threads: those there are, the caller at least, do it all.
        }
    }

    bool take_one() noexcept {
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

    [[noreturn]] void serve() {
        while (true) {
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [this] { return work_ != nullptr && next_ < parts_; });
            }
            while (take_one()) {
            }
        }
    }

    std::atomic_flag busy_;
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::size_t workers_ = 0;
    const task* work_ = nullptr;
    std::size_t parts_ = 0, next_ = 0, unfinished_ = 0;
    long process_ = process();
};

/// Elements below which one thread is faster: waking another takes as long as converting some 2^18.
inline constexpr std::size_t parallel_from = std::size_t{1} << 21;

/// work(begin, end) over [0, tasks), in one range a thread. threads: 0 means all cores where the
/// tasks have `elements` from `parallel_from` on, one below.
template <class Work>
void for_tasks(std::size_t tasks, std::size_t elements, int threads, const Work& work) {
    auto parts = static_cast<std::size_t>(std::max(threads, 1));
    if (threads == 0 && elements >= parallel_from)
        parts = std::max<std::size_t>(std::thread::hardware_concurrency(), 1);
    parts = std::min(parts, tasks);
    if (parts < 2) {
        if (tasks > 0) work(std::size_t{0}, tasks);
        return;
    }
    thread_pool::instance().run(parts, [&](std::size_t part) {
        const std::size_t begin = tasks * part / parts;
        const std::size_t end = tasks * (part + 1) / parts;
        if (begin < end) work(begin, end);
    });
}

/// work(begin, end) over [0, n), in ranges that begin at multiples of `grain`.
template <class Work>
void for_ranges(std::size_t n, int threads, std::size_t grain, const Work& work) {
    for_tasks((n + grain - 1) / grain, n, threads, [&](std::size_t begin, std::size_t end) {
        work(begin * grain, std::min(n, end * grain));
    });
}

}  // namespace lowp::detail
