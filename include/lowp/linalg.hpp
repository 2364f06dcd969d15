// Linear algebra in any scalar - float, double, minifloat, real, shadowed - on Eigen's matrices: every
// operation is rounded as the scalar rounds, not only the result, and in a stated order.
//
//     linalg/scalars.hpp     matrix, vector; in<S>: which scalar, real's context; errors in float64
//     linalg/products.hpp    axpy, dot, nrm2, gemv, gemm; accumulators: sequential, fused, pairwise
//     linalg/modelled.hpp    the accumulators of accumulator.hpp: tensor cores, Kahan, exact (not included)
//     linalg/factors.hpp     trsv, trsm, cholesky, lu
//     linalg/orthogonal.hpp  householder_qr, jacobi_eigen
//     linalg/krylov.hpp      conjugate_gradients, gmres
//     linalg/refinement.hpp  two_sided_scaling, refine: three scalars, by triangles or by GMRES
//
// Functions take matrix<S> and vector<S>; an expression of Eigen is given a type first. With real, a
// use_format must be in scope whose context is that of the matrices. NaN and infinity are numbers as any
// other, unless a function says that it refuses them.
#pragma once

#include "lowp/linalg/factors.hpp"
#include "lowp/linalg/krylov.hpp"
#include "lowp/linalg/orthogonal.hpp"
#include "lowp/linalg/products.hpp"
#include "lowp/linalg/refinement.hpp"
#include "lowp/linalg/scalars.hpp"
