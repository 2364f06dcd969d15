// A matrix in blocks along its rows and along its columns at once: what a training step calls most.
#include "common.hpp"

namespace lowp::python {
namespace {

/// Seed, stream and generator (0: of 10 rounds, 1: of 7), and the address of the stream's offset.
using numbers = std::tuple<std::uint64_t, std::uint64_t, int, pointer>;

random_source source_of(const numbers& n) {
    return {std::get<0>(n), std::get<1>(n), static_cast<generator>(std::get<2>(n))};
}

/// Both formats, the dtype of the values, the matrix's shape, and the transform of the columns.
class both_conversion {
public:
    both_conversion(const std::string& of_rows, const std::string& of_columns,
                    const std::string& dtype, std::size_t rows, std::size_t columns,
                    std::size_t hadamard)
        : of_rows_(parse_block_format(of_rows)),
          of_columns_(parse_block_format(of_columns)),
          carrier_(carrier_of(dtype)),
          rows_(rows),
          columns_(columns),
          hadamard_(hadamard) {
        if (cuda::has_both(carrier_, of_rows_, of_columns_, rows, columns, hadamard)) return;
        PyErr_SetString(PyExc_NotImplementedError, "no kernel works both ways here");
        throw py::error_already_set();
    }

    /// Bytes of workspace that quantize needs.
    [[nodiscard]] std::size_t workspace() const { return cuda::both_workspace_size; }  // NOLINT

    void quantize(pointer x, pointer by_rows, pointer by_columns, pointer workspace,
                  const numbers& rows, const numbers& columns, const std::optional<numbers>& signs,
                  pointer queue) const {
        cuda::both_options o;
        o.by_rows.source = source_of(rows);
        o.by_rows.stream_offset = at<const std::uint64_t>(std::get<3>(rows));
        o.by_rows.workspace = at<void>(workspace);
        o.by_columns.source = source_of(columns);
        o.by_columns.stream_offset = at<const std::uint64_t>(std::get<3>(columns));
        o.by_columns.hadamard_size = hadamard_;
        if (signs) {
            o.by_columns.hadamard.source = source_of(*signs);
            o.by_columns.hadamard.stream_offset = at<const std::uint64_t>(std::get<3>(*signs));
        }
        cuda::quantize_both(at<void>(x), at<void>(by_rows), at<void>(by_columns), carrier_,
                            of_rows_, of_columns_, rows_, columns_, o, at<CUstream_st>(queue));
    }

private:
    block_format of_rows_, of_columns_;
    cuda::carrier carrier_;
    std::size_t rows_, columns_, hadamard_;
};

}  // namespace

void bind_both(py::module_& m) {
    py::class_<both_conversion>(m, "BothConversion",
                                "Two block formats, a dtype and a matrix's shape, worked out once.")
        .def(py::init<std::string, std::string, std::string, std::size_t, std::size_t,
                      std::size_t>(),
             py::arg("of_rows"), py::arg("of_columns"), py::arg("dtype"), py::arg("rows"),
             py::arg("columns"), py::arg("hadamard"))
        .def("workspace", &both_conversion::workspace)
        .def("quantize", &both_conversion::quantize);
}

}  // namespace lowp::python
