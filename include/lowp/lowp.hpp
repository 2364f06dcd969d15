// lowp: number formats of any exponent and mantissa, every rounding, exact to the bit.
//
//     format.hpp     what a code means: the descriptor, its families and limits
//     formats.hpp    names: float8_e4m3fn, e5m10, ue5m3, p3109_k6p3uf, q3.4; parse_format and name
//     rounding.hpp   rounding, saturation, projection
//     random.hpp     random bits as a function of (seed, stream, index)
//     codec.hpp      quantize, encode, decode of one value; converter, made once and used often
//     array.hpp      the same over spans, with threads
//     halves.hpp     the same over spans of float16 and bfloat16, in blocks, too
//     arithmetic.hpp correctly rounded + - * / sqrt fma of single values, in any format
//     arithmetic_array.hpp  the same over spans
//     pack.hpp       codes of 1 to 8 bits in dense bytes
//     minifloat.hpp  a number of one format, stored as its code: arithmetic, numeric_limits, hash
//     literals.hpp   1.5_f16, 0.1_bf16, 448_e4m3
//     real.hpp       the same with a format and projection chosen at run time
//     shadowed.hpp   a scalar with what float64 makes of the same computation beside it
//     statistics.hpp counts of operations that round, overflow, underflow, make NaN
//
// and, one level up, elements that share scales:
//     scale.hpp          rules: from what is in a block to its scale
//     codebook.hpp       elements that are a sorted list of values: NF4
//     block_format.hpp   element, scale, shape, rule and edges together; layouts of arrays
//     block_presets.hpp  mxfp4, nvfp4 and others; what other libraries do at the edges
//     block_formats.hpp  names: mxfp4, nvfp4, float4_e2m1fn/16/ue5m3/amax; parse_block_format
//     block.hpp          quantize, encode and decode of arrays in blocks
//     hadamard.hpp       the transform that spreads outliers over a block
//
// and products:
//     accumulator.hpp        how the terms of a dot product are added up; matrix units of GPUs
//     accumulator_names.hpp  names: float16/pairwise, h100_fp8; parse_accumulator
//     gemm.hpp               matmul and dot under an accumulator, views of any strides
//
// Not included here: eigen.hpp (the verbs on Eigen's matrices), eigen_scalar.hpp (minifloat and real in
// Eigen's matrices), linalg.hpp (linear algebra in any scalar), elementary.hpp (exp, log, sin and
// others, needs Boost's headers), dispatch.hpp (the instruction set chosen at run time, needs the
// compiled library), cuda.hpp, cuda_block.hpp, cuda_delayed.hpp, cuda_hadamard.hpp, cuda_product.hpp
// and cuda_statistics.hpp (on a GPU, need the compiled library lowp::cuda), spec.hpp (the definition
// the tests compare with).
#pragma once

#include "lowp/accumulator.hpp"
#include "lowp/accumulator_names.hpp"
#include "lowp/arithmetic.hpp"
#include "lowp/arithmetic_array.hpp"
#include "lowp/array.hpp"
#include "lowp/block.hpp"
#include "lowp/block_format.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/block_presets.hpp"
#include "lowp/codebook.hpp"
#include "lowp/codec.hpp"
#include "lowp/format.hpp"
#include "lowp/formats.hpp"
#include "lowp/gemm.hpp"
#include "lowp/hadamard.hpp"
#include "lowp/halves.hpp"
#include "lowp/literals.hpp"
#include "lowp/minifloat.hpp"
#include "lowp/pack.hpp"
#include "lowp/random.hpp"
#include "lowp/real.hpp"
#include "lowp/rounding.hpp"
#include "lowp/scale.hpp"
#include "lowp/shadowed.hpp"
#include "lowp/statistics.hpp"
