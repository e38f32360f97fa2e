// What the parts of the rasteriser share. `Kernels` is compiled once per instruction set; one is chosen at run time.
#pragma once
#include <cstdint>

namespace o4d {

constexpr int kTile = 16;
constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kAlphaMax = 0.999f;
constexpr float kStop = 1e-4f;
constexpr float kNear = 0.05f;
constexpr float kLowPass = 0.3f;
constexpr float kDepthAlpha = 1e-4f;

// The caller's arrays. Opacities are logits; colours have 3 `groups` channels, drawn three at a time. A stride counts floats from view to view and is 0 where views share.
struct Inputs {
  int views, count, width, height, groups, threads;
  const float *means, *quats, *log_scales, *opacities, *colors;
  long means_stride, quats_stride, log_scales_stride, opacities_stride, colors_stride;
  const float *world_to_camera, *intrinsics;  // (views, 4, 4), (views, 3, 3) row major
};

// One Gaussian on one image plane: a cache line. With d = pixel - (x, y):
//     alpha = 2^(a dx^2 + b dx dy + c dy^2 + log2_opacity)
// and the pixels of row dy with alpha >= 1/255 are those within sqrt(reach - bend dy^2) inverse of x - slope dy.
struct alignas(64) Splat {
  float x, y, a, b, c, log2_opacity;
  float color[3], depth;
  float reach, bend, slope, inverse;
  uint16_t x0, x1, y0, y1;  // pixel box, half open; empty when invisible
};

// The tiles that a splat's box touches, last included; empty when x1 < x0.
struct TileBox {
  uint16_t x0, x1, y0, y1;
};

// What a tile tells about one of its splats. With u = alpha dL/dalpha where alpha is not clamped:
//     sums of u, u dx, u dy, u dx^2, u dx dy, u dy^2, w dL/dC (3), w dL/dD; the rest is padding.
struct alignas(64) Record {
  float sums[16];
};

struct Entry {
  int32_t splat, record;  // a Gaussian of a tile's list, and where its record goes
};

struct Tile {
  int x, y;           // first pixel
  int width, height;  // image size
  const Entry* list;  // near to far
  int count;
};

struct Image {
  float *rgb, *alpha, *depth;  // planes of width x height; rgb holds three; depth is the mean, 0 below kDepthAlpha
};

struct ImageGrad {
  const float *rgb, *alpha, *depth;
};

// Pairs of a pixel and a Gaussian: those in tile lists, those whose alpha is computed, those that add to a pixel.
struct Pairs {
  int64_t listed, evaluated, contributing;
};

struct Outputs {
  float *means, *quats, *log_scales, *opacities, *colors, *means2d;  // (views, n, .), added to
};

// One level of an ST-HexPlane: three spatial planes (cells, cells, channels), three temporal ones (knots, cells, channels).
struct HexLevel {
  int cells, knots;
  const float *spatial, *temporal;
};

struct HexPlanes {
  int count, times, levels, channels;
  const float *points, *clock;  // (count, 3) in [-1, 1], (times) in [0, 1]
  const HexLevel* level;
};

struct Shading {
  int views, count, coefficients;  // 4, 9 or 16
  const float *sh, *means, *positions;  // (count, coefficients, 3), (count, 3), the cameras' (views, 3)
};

struct Kernels {
  const char* name;
  int lanes;
  // Gaussians [begin, end) of a view: splats but for their colours, tile boxes, depths as sortable bits, and screen radii.
  void (*project)(const Inputs&, int view, int begin, int end, Splat*, TileBox*, uint32_t* keys, float* radii);
  // Chain rule back to the parameters, of one group's records. Records of Gaussian i lie at first_record[i] .. first_record[i + 1].
  void (*unproject)(const Inputs&, int view, int group, int begin, int end, const Record*, const int32_t* first_record,
                    const Outputs&);
  void (*forward)(const Tile&, const Splat*, const Image&);
  void (*backward)(const Tile&, const Splat*, const Image&, const ImageGrad&, Record*);
  // Adds up what `forward` would do.
  void (*count)(const Tile&, const Splat*, Pairs&);
  // Sum of the SSIM of two planes; gradient, unless null: d(scale * sum)/da.
  double (*similarity)(const float* a, const float* b, int height, int width, float scale, float* gradient);
  // ST-HexPlane features of points [begin, end); and the gradients of one level's `lanes` channels from `first`.
  void (*hexplane)(const HexPlanes&, int begin, int end, float* out);
  void (*hexplane_backward)(const HexPlanes&, int level, int first, int begin, int end, const float* grad, float* d_spatial, float* d_temporal,
                            float* d_points);
  // Colours (views, count, 3) of Gaussians [begin, end) from spherical harmonics, and the way back to the coefficients.
  void (*shade)(const Shading&, int begin, int end, float* colors);
  void (*shade_backward)(const Shading&, int begin, int end, const float* colors, const float* grad, float* d_sh);
};

// The widest kernels that this processor runs; ORBIT4D_ISA=base|avx2|avx512 asks for narrower ones.
const Kernels& kernels();

namespace base { extern const Kernels kernels; }
#if defined(O4D_X86)
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
#endif

}  // namespace o4d
