// Orders of summation by whole rows of the result: each step is an operation of arithmetic_array.hpp on a
// row. For every mode, random bits included, and every format; several times slower than tiles.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lowp/accumulator.hpp"
#include "lowp/arithmetic_array.hpp"

namespace lowp::detail {

/// Row i of a product. a: its factors; b: [k][columns].
template <carrier_float T, class Isa>
class product_row {
public:
    using row = std::vector<T>;

    product_row(const accumulator& how, const options& o, std::size_t rows, std::size_t columns)
        : how_(how),
          rows_(rows),
          columns_(columns),
          options_(o),
          added_(how.addition.format, how.addition.projection),
          multiplied_(product_step(how).format, product_step(how).projection) {
        options_.threads = 1;
    }

    /// sums = sums + the terms from k0 to k1, or for pairwise and kahan the terms alone where sums is
    /// zero. `at`: the first index of the row, i columns.
    void sum(std::span<const T> a, std::span<const T> b, std::size_t i, std::size_t k0,
             std::size_t k1, row& sums) {
        a_ = a;
        b_ = b;
        i_ = i;
        if (how_.order == summation::pairwise) {
            const row terms = pairwise(k0, k1);
            add(sums, terms, sums, k1);
        } else if (how_.order == summation::kahan) {
            kahan(k0, k1, sums);
        } else {
            for (std::size_t k = k0; k < k1; ++k) step(k, sums);
        }
    }

private:
    /// How a product that stands alone is rounded.
    static const rounding_step& product_step(const accumulator& how) {
        return how.products == products::rounded ? how.product : how.addition;
    }
    /// `place`: where in the chain an operation stands; no two have one place.
    [[nodiscard]] const options& at(std::size_t place, std::uint64_t stream = 0) {
        options_.first_index = first_ + (place * rows_ + i_) * columns_;
        options_.source.stream = stream_ + stream;
        return options_;
    }
    [[nodiscard]] std::span<const T> line(std::size_t k) const {
        return b_.subspan(k * columns_, columns_);
    }
    void multiply(std::size_t k, row& out) {
        mul<T, Isa>(a_.subspan(k, 1), line(k), std::span<T>(out), multiplied_,
                    at(k, std::uint64_t{1} << 63));
    }
    void add(const row& x, const row& y, row& out, std::size_t place) {
        lowp::add<T, Isa>(std::span<const T>(x), std::span<const T>(y), std::span<T>(out), added_,
                          at(place));
    }
    void subtract(const row& x, const row& y, row& out, std::size_t place) {
        sub<T, Isa>(std::span<const T>(x), std::span<const T>(y), std::span<T>(out), added_,
                    at(place));
    }

    void step(std::size_t k, row& sums) {
        if (how_.products == products::exact)
            return fma<T, Isa>(a_.subspan(k, 1), line(k), std::span<const T>(sums),
                               std::span<T>(sums), added_, at(k));
        row product(columns_);
        multiply(k, product);
        add(sums, product, sums, k);
    }

    /// The largest power of two below the number of terms goes left.
    row pairwise(std::size_t k0, std::size_t k1) {
        row left(columns_);
        if (k1 - k0 == 1) {
            multiply(k0, left);
            return left;
        }
        const std::size_t middle = k0 + std::bit_floor(k1 - k0 - 1);
        left = pairwise(k0, middle);
        const row right = pairwise(middle, k1);
        add(left, right, left, middle);
        return left;
    }

    /// y = t - lost; s' = s + y; lost = (s' - s) - y.
    void kahan(std::size_t k0, std::size_t k1, row& sums) {
        row lost(columns_);
        row term(columns_);
        row next(columns_);
        for (std::size_t k = k0; k < k1; ++k) {
            multiply(k, term);
            subtract(term, lost, term, 4 * k);
            add(sums, term, next, 4 * k + 1);
            subtract(next, sums, lost, 4 * k + 2);
            subtract(lost, term, lost, 4 * k + 3);
            sums.assign(next.begin(), next.end());
        }
    }

    const accumulator& how_;
    std::size_t rows_, columns_, i_ = 0;
    options options_;
    std::uint64_t stream_ = options_.source.stream, first_ = options_.first_index;
    converter<T> added_, multiplied_;
    std::span<const T> a_, b_;
};

}  // namespace lowp::detail
