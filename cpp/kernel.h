// What the tile kernels see: projected Gaussians and one tile's depth-ordered list.
#pragma once
#include <cstdint>

namespace o4d {

constexpr int kTile = 16;
constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kAlphaMax = 0.999f;
constexpr float kStop = 1e-4f;

// One Gaussian on one image plane.
struct Splat {
  float x, y;            // mean, pixels
  float a, b, c;         // conic: power = (a dx^2 + c dy^2) / 2 + b dx dy
  float opacity;         // in (0, 1)
  float limit;           // largest power that still gives alpha >= 1/255: log(255 opacity)
  float color[3], depth;
  int x0, x1, y0, y1;    // pixel box of the region with power <= limit, half open; empty when invisible
};

// Gradient of one Gaussian from one tile.
struct SplatGrad {
  float x, y, a, b, c, opacity, color[3], depth;
};

struct Tile {
  int x, y;                  // first pixel
  int width, height;         // image size
  const int32_t* list;       // Gaussians, near to far
  int count;
};

struct Image {
  float *rgb, *alpha, *depth;  // planes of width x height; rgb holds three
};

struct ImageGrad {
  const float *rgb, *alpha, *depth;
};

using ForwardFn = void (*)(const Tile&, const Splat*, const Image&);
using BackwardFn = void (*)(const Tile&, const Splat*, const Image&, const ImageGrad&, SplatGrad*);

namespace base {
void forward(const Tile&, const Splat*, const Image&);
void backward(const Tile&, const Splat*, const Image&, const ImageGrad&, SplatGrad*);
}  // namespace base
#if defined(O4D_AVX2)
namespace avx2 {
void forward(const Tile&, const Splat*, const Image&);
void backward(const Tile&, const Splat*, const Image&, const ImageGrad&, SplatGrad*);
}  // namespace avx2
#endif

}  // namespace o4d
