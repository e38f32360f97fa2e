// Colours from spherical harmonics, kLanes Gaussians at a time. Included inside a namespace, after project.inl.

// The basis of spherical_harmonics.py at a unit direction: 4, 9 or 16 values.
template <int count>
inline void harmonics(F x, F y, F z, F (&b)[count]) {
  b[0] = all(0.28209479f);
  b[1] = -0.48860251f * y, b[2] = 0.48860251f * z, b[3] = -0.48860251f * x;
  if constexpr (count > 4) {
    b[4] = 1.09254843f * x * y, b[5] = -1.09254843f * y * z, b[6] = 0.31539157f * (3.0f * z * z - 1.0f);
    b[7] = -1.09254843f * x * z, b[8] = 0.54627422f * (x * x - y * y);
  }
  if constexpr (count > 9) {
    const F xx = x * x, yy = y * y, zz = z * z;
    b[9] = -0.59004359f * y * (3.0f * xx - yy), b[10] = 2.89061144f * x * y * z, b[11] = -0.45704580f * y * (5.0f * zz - 1.0f);
    b[12] = 0.37317633f * z * (5.0f * zz - 3.0f), b[13] = -0.45704580f * x * (5.0f * zz - 1.0f);
    b[14] = 1.44530572f * z * (xx - yy), b[15] = -0.59004359f * x * (xx - 3.0f * yy);
  }
}

template <int count>
inline void harmonics_seen(const Shading& in, int view, const F (&mean)[3], F (&basis)[count]) {
  const float* eye = in.positions + 3L * view;
  const F x = mean[0] - eye[0], y = mean[1] - eye[1], z = mean[2] - eye[2];
  const F inverse = 1.0f / maximum(square_root(x * x + y * y + z * z), all(1e-12f));
  harmonics(x * inverse, y * inverse, z * inverse, basis);
}

template <int count>
void shade_some(const Shading& in, int begin, int end, float* colors) {
  for (int block = begin; block < end; block += kLanes) {
    const int lanes = std::min(kLanes, end - block);
    F mean[3], sh[3 * count], basis[count];
    gather(in.means, block, lanes, mean);
    gather(in.sh, block, lanes, sh);
    for (int v = 0; v < in.views; ++v) {
      harmonics_seen(in, v, mean, basis);
      F color[3] = {all(0.5f), all(0.5f), all(0.5f)};
      for (int k = 0; k < count; ++k)
        for (int c = 0; c < 3; ++c) color[c] += basis[k] * sh[3 * k + c];
      for (F& c : color) c = choose(above(all(0.0f), c), all(0.0f), c);  // NaN stays NaN
      scatter<false>(color, colors + 3 * (static_cast<long>(v) * in.count + block), 3, lanes);
    }
  }
}

template <int count>
void shade_backward_some(const Shading& in, int begin, int end, const float* colors, const float* grad, float* d_sh) {
  for (int block = begin; block < end; block += kLanes) {
    const int lanes = std::min(kLanes, end - block);
    F mean[3], sum[3 * count] = {}, basis[count], color[3], g[3];
    gather(in.means, block, lanes, mean);
    for (int v = 0; v < in.views; ++v) {
      const long view = 3L * v * in.count;
      gather(colors + view, block, lanes, color);
      gather(grad + view, block, lanes, g);
      harmonics_seen(in, v, mean, basis);
      for (int c = 0; c < 3; ++c) g[c] = choose(above(color[c], all(0.0f)), g[c], all(0.0f));
      for (int k = 0; k < count; ++k)
        for (int c = 0; c < 3; ++c) sum[3 * k + c] += basis[k] * g[c];
    }
    scatter<false>(sum, d_sh + 3L * count * block, 3L * count, lanes);
  }
}

// Colours (views, n, 3) of Gaussians [begin, end), never below 0; and from their gradient that of the coefficients.
void shade(const Shading& in, int begin, int end, float* colors) {
  if (in.coefficients == 4) shade_some<4>(in, begin, end, colors);
  if (in.coefficients == 9) shade_some<9>(in, begin, end, colors);
  if (in.coefficients == 16) shade_some<16>(in, begin, end, colors);
}
void shade_backward(const Shading& in, int begin, int end, const float* colors, const float* grad, float* d_sh) {
  if (in.coefficients == 4) shade_backward_some<4>(in, begin, end, colors, grad, d_sh);
  if (in.coefficients == 9) shade_backward_some<9>(in, begin, end, colors, grad, d_sh);
  if (in.coefficients == 16) shade_backward_some<16>(in, begin, end, colors, grad, d_sh);
}
