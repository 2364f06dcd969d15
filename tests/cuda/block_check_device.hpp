// Options of block formats on the device and on the CPU, for the tests of src/cuda.
#pragma once

#include "conversion_check.hpp"
#include "lowp/block.hpp"
#include "lowp/cuda_block.hpp"

namespace lowp::test {

[[nodiscard]] inline block_options cpu_options(const random_source& source, std::uint64_t first) {
    block_options o;
    static_cast<options&>(o) = host_options(source, first);
    return o;
}

/// Memory and options of a call on the device.
struct on_device {
    device_array<std::uint8_t> workspace;
    device_array<std::uint32_t> failures{std::vector<std::uint32_t>{0}};
    cuda::block_options options;

    on_device(cuda::carrier c, const block_format& f, const block_layout& l,
              const random_source& source, std::uint64_t first)
        : workspace(std::max(cuda::workspace_size(c, f, l, packing::dense),
                             cuda::workspace_size(c, f, l))) {
        options.workspace = workspace.data();
        options.failures = failures.data();
        options.source = source;
        options.first_index = first;
    }
};

}  // namespace lowp::test
