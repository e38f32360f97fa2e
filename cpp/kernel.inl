// One instruction set's kernels, in a namespace of its own: nothing in it may be shared with another translation unit,
// or the linker could choose the wrong one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "kernel.h"

#define O4D_TEXT(x) #x
#define O4D_STRING(x) O4D_TEXT(x)

namespace o4d {
namespace O4D_NAMESPACE {
namespace {
#include "simd.inl"

#include "hexplane.inl"
#include "project.inl"
#include "harmonics.inl"
#include "ssim.inl"
#include "tile.inl"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {O4D_STRING(O4D_NAMESPACE), kLanes, project, unproject, forward, backward, count_pairs, similarity, hexplane, hexplane_backward, shade, shade_backward};

}  // namespace O4D_NAMESPACE
}  // namespace o4d
