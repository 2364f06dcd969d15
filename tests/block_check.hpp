// Runs the verbs of block.hpp on every instruction set and compares them with the definition.
#pragma once

#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

#include "all_isas.hpp"
#include "block_definition.hpp"
#include "lowp/block_formats.hpp"

namespace lowp::test {

/// What is checked of one array in one format; tells the first differences of each.
template <class T>
class block_check {
public:
    block_check(const block_format& f, const block_map& map, std::vector<T> x, block_options o = {})
        : f_(f),
          map_(map),
          x_(std::move(x)),
          o_(o),
          layout_(layout_of(f.shape, map.sizes, map.axis)),
          wanted_(block_definition<T>(f_, map_, o_)(x_)) {}

    /// quantize, encode and decode on every instruction set, apart and in place.
    void run() {
        for (const std::string_view isa : isas()) {
            o_.loops = &dispatch::loops(isa);
            std::vector<T> y(x_.size() + 1, T{-12345});
            quantize(std::span<const T>(x_), std::span(y).first(x_.size()), f_, layout_, o_);
            if (y.back() != T{-12345}) note(isa, "quantize wrote past the end");
            y.pop_back();
            compare_values(isa, "quantize", y);
            std::vector<T> same = x_;
            quantize(std::span<const T>(same), std::span(same), f_, layout_, o_);
            compare_bits(isa, "quantize in place", same, y);
            if (first_.empty()) first_ = y;
            compare_bits(isa, "quantize on another instruction set", y, first_);
            run_codes(isa, y);
        }
        CHECK_MESSAGE(different_ == 0,
                      different_ << " differ, " << name(f_) << " " << shape_text() << text_.str());
    }

    [[nodiscard]] double uncertain() const {
        std::size_t count = 0;
        for (const bool u : wanted_.is_uncertain) count += u ? 1U : 0U;
        return static_cast<double>(count) / static_cast<double>(x_.size() + 1);
    }

private:
    void run_codes(std::string_view isa, const std::vector<T>& y) {
        if (wanted_.lost_nan) {
            CHECK_THROWS_AS((void)encode(std::span<const T>(x_), f_, layout_, o_),
                            std::invalid_argument);
            return;
        }
        const int bits = f_.element_bits();
        const block_tensor t = encode(std::span<const T>(x_), f_, layout_, o_);
        if ((t.packing == packing::dense) != (bits <= 8)) note(isa, "packing");
        block_tensor loose{f_, layout_, packing::loose};
        loose.codes.resize(code_size(f_, layout_, packing::loose));
        loose.scales.resize(scale_size(f_, layout_));
        loose.outer =
            encode(std::span<const T>(x_),
                   {loose.codes.data(), loose.scales.data(), packing::loose}, f_, layout_, o_);
        if (t.scales != loose.scales) note(isa, "scales of packed codes");
        if (t.outer != std::vector<double>(wanted_.outer.begin(), wanted_.outer.end()) ||
            t.outer != loose.outer)
            note(isa, "outer scales");
        for (std::size_t i = 0; i < x_.size(); ++i) {
            if (wanted_.is_uncertain[i]) continue;
            const code_type code = code_at(loose.codes, bits, i);
            compare(isa, "encode", i, code, wanted_.codes[i]);
            if (t.packing == packing::dense)
                compare(isa, "packed", i,
                        packed_at(t.codes, bits, i / layout_.columns, layout_.columns,
                                  i % layout_.columns),
                        code);
        }
        for (std::size_t b = 0; b < wanted_.scales.size(); ++b)
            if (!wanted_.is_uncertain[map_.blocks[b].front()])
                compare(isa, "scale of block", b, code_at(t.scales, f_.scale.bits(), b),
                        wanted_.scales[b]);
        std::vector<T> back(x_.size() + 1, T{-12345});
        decode(t, std::span(back).first(x_.size()), o_);
        if (back.back() != T{-12345}) note(isa, "decode wrote past the end");
        std::vector<T> from_loose(x_.size());
        decode(loose, std::span(from_loose), o_);
        for (std::size_t i = 0; i < x_.size(); ++i) {
            // A NaN that an own code stands for comes back as that code's value.
            const bool is_own = o_.nan_code && std::isnan(y[i]) && !std::isnan(back[i]);
            if (!is_own && !is_same(back[i], y[i])) {
                compare(isa, "decode(encode) against quantize", i, back[i], y[i]);
            }
            if (!is_same(back[i], from_loose[i])) note(isa, "decode of loose codes");
        }
    }

    void compare_values(std::string_view isa, const char* what, const std::vector<T>& y) {
        for (std::size_t i = 0; i < y.size(); ++i)
            if (!wanted_.is_uncertain[i] && !is_same(y[i], wanted_.values[i]))
                compare(isa, what, i, y[i], wanted_.values[i]);
    }
    void compare_bits(std::string_view isa, const char* what, const std::vector<T>& a,
                      const std::vector<T>& b) {
        for (std::size_t i = 0; i < a.size(); ++i)
            if (bits_of(a[i]) != bits_of(b[i])) compare(isa, what, i, a[i], b[i], true);
    }
    template <class V>
    void compare(std::string_view isa, const char* what, std::size_t i, V got, V wanted,
                 bool is_different = false) {
        if constexpr (std::is_floating_point_v<V>) is_different = true;
        if (!is_different && got == wanted) return;
        if (++different_ > 4) return;
        text_ << "\n"
              << what << " [" << i << "] by " << isa << ": got " << std::hexfloat << got
              << ", wanted " << wanted;
        if (i < x_.size()) text_ << ", x " << x_[i];
        text_ << std::defaultfloat;
    }
    void note(std::string_view isa, const char* what) {
        if (++different_ < 5) text_ << "\n" << what << " by " << isa;
    }
    [[nodiscard]] std::string shape_text() const {
        std::string text = "(";
        for (const std::size_t n : map_.sizes) text += std::to_string(n) + " ";
        return text + ") axis " + std::to_string(map_.axis) + " " +
               (sizeof(T) == 4 ? "float32" : "float64");
    }

    const block_format& f_;
    const block_map& map_;
    std::vector<T> x_;
    block_options o_;
    block_layout layout_;
    defined_blocks<T> wanted_;
    std::vector<T> first_;
    std::size_t different_ = 0;
    std::ostringstream text_;
};

/// Values of about one magnitude in each run of 16, of many signs and a few zeros.
template <class T>
[[nodiscard]] std::vector<T> block_values(std::size_t count, dice& d) {
    std::vector<T> x(count);
    int e = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (i % 16 == 0) e = d.between(-12, 12);
        const auto fraction = static_cast<T>(static_cast<double>(d.below(1U << 30)) / (1U << 30));
        x[i] = std::ldexp(d.coin() ? fraction : -fraction, e - static_cast<int>(d.below(6)));
        if (d.below(24) == 0) x[i] = d.coin() ? T{0} : -T{0};
    }
    return x;
}

/// Values of twelve bits: sums of their squares are exact in any order.
template <class T>
[[nodiscard]] std::vector<T> coarse_values(std::size_t count, dice& d) {
    std::vector<T> x(count);
    for (T& v : x) v = static_cast<T>(d.between(-4095, 4095)) / T{1024};
    return x;
}

}  // namespace lowp::test
