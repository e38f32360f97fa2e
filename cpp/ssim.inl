// SSIM of one plane with an 11 x 11 Gaussian window (sigma 1.5, zero padding), and its gradient with respect to the
// first image. Rows stream through: blurred along, then down, then the gradient's parts down and along again, so that
// only the last 11 rows of anything are held. Included inside a namespace, after simd.inl.

constexpr int kRadius = 5, kTaps = 2 * kRadius + 1;
constexpr float kWindow[kTaps] = {0.00102838f, 0.00759876f, 0.03600077f, 0.10936069f, 0.21300554f, 0.26601172f,
                                  0.21300554f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};
constexpr float kLaneNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// The last kTaps rows of a map, with room to read kRadius columns before and a vector beyond; other rows are zero.
class Ring {
 public:
  void reset(int height, int width) {
    rows = height, stride = (width + 2 * kRadius + 2 * kLanes) / kLanes * kLanes;
    data.assign(static_cast<size_t>(stride) * (kTaps + 1), 0.0f);
  }
  float* row(int y) { return data.data() + static_cast<size_t>(y % kTaps) * stride + kRadius; }
  struct Window {
    const float* row[kTaps];
  };
  Window around(int y) {
    Window w;
    const float* zero = data.data() + static_cast<size_t>(kTaps) * stride + kRadius;
    for (int k = 0; k < kTaps; ++k) {
      const int from = y + k - kRadius;
      w.row[k] = from < 0 || from >= rows ? zero : row(from);
    }
    return w;
  }

 private:
  int rows = 0, stride = 0;
  std::vector<float> data;
};

inline F blur_along(const float* row) {
  F sum = kWindow[0] * load(row - kRadius);
  for (int k = 1; k < kTaps; ++k) sum += kWindow[k] * load(row + k - kRadius);
  return sum;
}

inline F blur_down(const Ring::Window& w, int x) {
  F sum = kWindow[0] * load(w.row[0] + x);
  for (int k = 1; k < kTaps; ++k) sum += kWindow[k] * load(w.row[k] + x);
  return sum;
}

// Zeroes what lies beyond the image, as the blurs expect.
inline F within(F v, int x, int width) {
  return choose(above(all(static_cast<float>(width - x)), load(kLaneNumbers)), v, all(0.0f));
}

struct Similarity {
  const float *a, *b;
  int height, width;
  float scale;
  float* gradient;
  Ring along[5], down[3], line;  // a, b, aa, bb, ab; d/d mean, d/d aa, d/d ab; scratch rows
  double total = 0.0;

  void blur_images(int y) {
    const long from = static_cast<long>(y) * width;
    std::memcpy(line.row(0), a + from, sizeof(float) * width);
    std::memcpy(line.row(1), b + from, sizeof(float) * width);
    for (int x = 0; x < width; x += kLanes) {
      const F va = load(line.row(0) + x), vb = load(line.row(1) + x);
      store(line.row(2) + x, va * va), store(line.row(3) + x, vb * vb), store(line.row(4) + x, va * vb);
    }
    for (int m = 0; m < 5; ++m)
      for (int x = 0; x < width; x += kLanes) store(along[m].row(y) + x, blur_along(line.row(m) + x));
  }

  void compare(int y) {
    constexpr float c1 = 0.01f * 0.01f, c2 = 0.03f * 0.03f;
    Ring::Window w[5];
    for (int m = 0; m < 5; ++m) w[m] = along[m].around(y);
    F sum{};
    for (int x = 0; x < width; x += kLanes) {
      const F ma = blur_down(w[0], x), mb = blur_down(w[1], x), aa = blur_down(w[2], x), bb = blur_down(w[3], x), ab = blur_down(w[4], x);
      const F n1 = 2.0f * ma * mb + c1, n2 = 2.0f * (ab - ma * mb) + c2;
      const F d1 = ma * ma + mb * mb + c1, d2 = (aa - ma * ma) + (bb - mb * mb) + c2;
      const F inverse = 1.0f / (d1 * d2), s = n1 * n2 * inverse;
      sum += within(s, x, width);
      if (!gradient) continue;
      const F mean = 2.0f * mb * (n2 - n1) * inverse - 2.0f * ma * s * (d2 - d1) * inverse;
      store(down[0].row(y) + x, within(mean * scale, x, width));
      store(down[1].row(y) + x, within(-s * d1 * inverse * scale, x, width));
      store(down[2].row(y) + x, within(2.0f * n1 * inverse * scale, x, width));
    }
    for (int i = 0; i < kLanes; ++i) total += sum[i];
  }

  // The window is symmetric: the adjoint of a blur is the same blur.
  void blur_gradient(int y) {
    Ring::Window w[3];
    for (int m = 0; m < 3; ++m) w[m] = down[m].around(y);
    for (int m = 0; m < 3; ++m)
      for (int x = 0; x < width; x += kLanes) store(line.row(m) + x, blur_down(w[m], x));
    const long from = static_cast<long>(y) * width;
    std::memcpy(line.row(3), a + from, sizeof(float) * width);
    std::memcpy(line.row(4), b + from, sizeof(float) * width);
    for (int x = 0; x < width; x += kLanes)
      store(line.row(5) + x, blur_along(line.row(0) + x) + 2.0f * load(line.row(3) + x) * blur_along(line.row(1) + x) +
                                 load(line.row(4) + x) * blur_along(line.row(2) + x));
    std::memcpy(gradient + from, line.row(5), sizeof(float) * width);
  }

  double run() {
    for (Ring& r : along) r.reset(height, width);
    for (Ring& r : down) r.reset(height, width);
    line.reset(kTaps, width);
    for (int y = 0; y < height + 2 * kRadius; ++y) {
      if (y < height) blur_images(y);
      if (y >= kRadius && y < height + kRadius) compare(y - kRadius);
      if (gradient && y >= 2 * kRadius) blur_gradient(y - 2 * kRadius);
    }
    return total;
  }
};

// Adds up the similarity of planes a and b (height x width). gradient, unless null: d(scale * sum)/da.
double similarity(const float* a, const float* b, int height, int width, float scale, float* gradient) {
  Similarity s{a, b, height, width, scale, gradient, {}, {}, {}};
  return s.run();
}
