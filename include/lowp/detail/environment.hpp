// Kernels add floats: that needs round-to-nearest and gradual underflow, whatever the caller's
// thread was set to (flush-to-zero is common in training code).
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

namespace lowp::detail {

/// Default floating-point control for its lifetime; then the thread's own again. The sticky
/// exception flags mean nothing after a call.
class default_environment {
public:
    default_environment() : saved_(read()), differs_((saved_ & control) != defaults) {
        if (differs_) write(defaults);
    }
    ~default_environment() {
        if (differs_) write(saved_);
    }
    default_environment(const default_environment&) = delete;
    default_environment& operator=(const default_environment&) = delete;
    default_environment(default_environment&&) = delete;
    default_environment& operator=(default_environment&&) = delete;

private:
#if defined(__x86_64__) || defined(__i386__)
    using state = unsigned;
    // MXCSR: all exceptions masked, to nearest, no FTZ, no DAZ; the lowest bits are sticky flags.
    static constexpr state defaults = 0x1F80;
    static constexpr state control = 0xFFC0;
    static state read() { return _mm_getcsr(); }
    static void write(state s) { _mm_setcsr(s); }
#elif defined(__aarch64__)
    using state = std::uint64_t;
    static constexpr state defaults = 0;  // FPCR: to nearest, no FZ
    static constexpr state control = ~state{0};
    static state read() {
        state s = 0;
        asm volatile("mrs %0, fpcr" : "=r"(s));
        return s;
    }
    static void write(state s) { asm volatile("msr fpcr, %0" : : "r"(s) : "memory"); }
#else
    using state = int;
    static constexpr state defaults = 0;
    static constexpr state control = 0;
    static state read() { return 0; }
    static void write(state /*unused*/) {}
#endif

    state saved_;
    bool differs_;
};

}  // namespace lowp::detail
