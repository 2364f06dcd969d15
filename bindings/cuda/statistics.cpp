// Largest magnitudes, errors, counts of codes and the Hadamard transform by pointers.
#include "common.hpp"
#include "lowp/cuda_hadamard.hpp"
#include "lowp/cuda_statistics.hpp"

namespace lowp::python {
namespace {

block_layout layout_of_blocks(const std::pair<std::size_t, std::size_t>& block,
                              const lengths& shape, int axis) {
    return layout_of(block_shape{block.first, block.second}, shape, axis);
}

std::size_t amax_workspace(const std::string& dtype, std::pair<std::size_t, std::size_t> block,
                           const lengths& shape, int axis) {
    return cuda::amax_workspace_size(carrier_of(dtype), layout_of_blocks(block, shape, axis));
}

void amax(pointer x, const std::string& dtype, std::pair<std::size_t, std::size_t> block,
          const lengths& shape, int axis, pointer out, pointer workspace, pointer queue) {
    cuda::amax(at<void>(x), carrier_of(dtype), layout_of_blocks(block, shape, axis), at<void>(out),
               at<void>(workspace), at<CUstream_st>(queue));
}

void measure(pointer x, pointer q, const std::string& dtype, std::size_t n, pointer out,
             const std::optional<std::string>& f, pointer queue) {
    std::optional<format> known;
    if (f) known = parse_format(*f);
    cuda::measure(at<void>(x), at<void>(q), carrier_of(dtype), n, at<cuda::error_sums>(out), known,
                  at<CUstream_st>(queue));
}

void count_codes(pointer codes, int bytes, std::size_t n, int bits, pointer counts, pointer x,
                 const std::string& dtype, pointer queue) {
    cuda::count_codes(at<void>(codes), bytes, n, bits, at<std::uint64_t>(counts), at<void>(x),
                      carrier_of(dtype), at<CUstream_st>(queue));
}

/// source: seed, stream and the address of the stream's offset; signs: their address, or 0.
void hadamard(pointer x, pointer out, const std::string& dtype, std::size_t n, std::size_t size,
              std::size_t columns,
              const std::optional<std::tuple<std::uint64_t, std::uint64_t, pointer>>& source,
              pointer signs, bool inverse, pointer queue) {
    cuda::hadamard_options o;
    if (source) {
        o.source = random_source{std::get<0>(*source), std::get<1>(*source)};
        o.stream_offset = at<const std::uint64_t>(std::get<2>(*source));
    }
    o.signs = at<const std::int8_t>(signs);
    o.is_inverse = inverse;
    cuda::hadamard(at<void>(x), at<void>(out), carrier_of(dtype), n, size, columns, o,
                   at<CUstream_st>(queue));
}

}  // namespace

void bind_statistics(py::module_& m) {
    m.attr("ERROR_RUN") = cuda::error_run;
    m.attr("ERROR_SUMS_BYTES") = sizeof(cuda::error_sums);
    m.def("amax_workspace", &amax_workspace);
    m.def("amax", &amax);
    m.def("measure", &measure);
    m.def("count_codes", &count_codes);
    m.def("hadamard", &hadamard);
}

}  // namespace lowp::python
