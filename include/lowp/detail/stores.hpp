// How results are written: by way of the caches, or, where no cache would hold them, past them. That
// saves reading each line before it is overwritten; no bit depends on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace lowp::detail {

enum class stores : std::uint8_t { cached, streamed };

/// A register of results.
template <class L, stores S>
[[gnu::always_inline]] inline void store_result(typename L::element* p, typename L::word w) {
    if constexpr (S == stores::streamed) L::stream_bits(p, w);
    else L::store_bits(p, w);
}

/// Calls f with the way of writing as a type; lanes without streams have the one.
template <class L, class F>
[[gnu::always_inline]] inline void with_stores(stores s, const F& f) {
    if constexpr (L::has_streams)
        if (s == stores::streamed) return f(std::integral_constant<stores, stores::streamed>{});
    f(std::integral_constant<stores, stores::cached>{});
}

/// Bytes that a call reads and writes from which on no cache would keep its results. A constant, as
/// virtual machines tell of caches that others use too; half as many gain nothing yet.
inline constexpr std::size_t streams_from = std::size_t{64} << 20;

/// What a call reads and writes, both from its first byte on; nothing: to be kept in the caches.
struct traffic {
    const void* x = nullptr;
    const void* y = nullptr;
    std::size_t bytes = 0;  ///< of both

    template <class In, class Out>
    [[nodiscard]] static traffic of(std::span<In> x, std::span<Out> y) {
        return {x.data(), y.data(), x.size_bytes() + y.size_bytes()};
    }
    /// In place, what is written has been read just before.
    [[nodiscard]] bool is_streamed() const {
        return bytes >= streams_from && x != y && reinterpret_cast<std::uintptr_t>(y) % 16 == 0;
    }
};

/// The stores of one thread's part of a call. finish: of the loop table, or nullptr.
class part_stores {
public:
    part_stores(void (*finish)(), const traffic& t) : finish_(t.is_streamed() ? finish : nullptr) {}
    ~part_stores() {
        if (finish_ != nullptr) finish_();
    }
    part_stores(const part_stores&) = delete;
    part_stores& operator=(const part_stores&) = delete;
    part_stores(part_stores&&) = delete;
    part_stores& operator=(part_stores&&) = delete;

    [[nodiscard]] stores how() const {
        return finish_ != nullptr ? stores::streamed : stores::cached;
    }

private:
    void (*finish_)();
};

}  // namespace lowp::detail
