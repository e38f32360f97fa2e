// Vectors of kLanes floats under one set of names, so that the kernels are written once. Included inside a namespace.
#if defined(__AVX512F__) && defined(O4D_WIDE)
constexpr int kLanes = 16;
typedef float F __attribute__((vector_size(64)));
typedef __mmask16 Mask;
inline F all(float v) { return _mm512_set1_ps(v); }
inline Mask at_least(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline Mask above(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline F choose(Mask m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }
inline bool any(Mask m) { return m != 0; }
inline int number(Mask m) { return __builtin_popcount(m); }
inline F minimum(F a, F b) { return _mm512_min_ps(a, b); }
inline F maximum(F a, F b) { return _mm512_max_ps(a, b); }
inline F square_root(F a) { return _mm512_sqrt_ps(a); }
// 1 / a to about 1 ulp: the processor's 14 bits and one Newton step.
inline F reciprocal(F a) {
  const F r = _mm512_rcp14_ps(a);
  return r * (_mm512_set1_ps(2.0f) - a * r);
}
// The first few lanes only, the others zero.
inline F load_some(const float* p, int count) { return _mm512_maskz_loadu_ps(static_cast<Mask>((1u << count) - 1), p); }
inline void store_some(float* p, F v, int count) { _mm512_mask_storeu_ps(p, static_cast<Mask>((1u << count) - 1), v); }
#else
constexpr int kLanes = 8;
typedef float F __attribute__((vector_size(32)));
typedef int32_t Mask __attribute__((vector_size(32)));
inline Mask at_least(F a, F b) { return a >= b; }
inline Mask above(F a, F b) { return a > b; }
inline F choose(Mask m, F yes, F no) { return m ? yes : no; }
inline F minimum(F a, F b) { return a < b ? a : b; }
inline F maximum(F a, F b) { return a > b ? a : b; }
inline F load_some(const float* p, int count) {
  F v{};
  std::memcpy(&v, p, sizeof(float) * count);
  return v;
}
inline void store_some(float* p, F v, int count) { std::memcpy(p, &v, sizeof(float) * count); }
inline int number(Mask m) {
  int n = 0;
  for (int i = 0; i < kLanes; ++i) n -= m[i];
  return n;
}
#if defined(__AVX2__)
inline F all(float v) { return _mm256_set1_ps(v); }
inline bool any(Mask m) { return _mm256_movemask_ps((__m256)m) != 0; }
inline F square_root(F a) { return _mm256_sqrt_ps(a); }
inline F reciprocal(F a) {
  const F r = _mm256_rcp_ps(a);
  return r * (_mm256_set1_ps(2.0f) - a * r);
}
#else
// By halves, the processor's width: GCC writes a broadcast to eight lanes one lane at a time and waits for the last.
inline F all(float v) {
  typedef float Half __attribute__((vector_size(16)));
  const Half halves[2] = {Half{} + v, Half{} + v};
  F whole;
  std::memcpy(&whole, halves, sizeof whole);
  return whole;
}
inline bool any(Mask m) {
  int32_t t = 0;
  for (int i = 0; i < kLanes; ++i) t |= m[i];
  return t != 0;
}
inline F square_root(F a) {
  F r;
  for (int i = 0; i < kLanes; ++i) r[i] = std::sqrt(a[i]);
  return r;
}
inline F reciprocal(F a) { return 1.0f / a; }
#endif
#endif

typedef int32_t Bits __attribute__((vector_size(4 * kLanes)));
inline F load(const float* p) {
  F v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, F v) { std::memcpy(p, &v, sizeof v); }
inline void store_truncated(int32_t* p, F v) {
  const Bits whole = __builtin_convertvector(v, Bits);
  std::memcpy(p, &whole, sizeof whole);
}
inline F clamp(F v, float low, float high) { return minimum(maximum(v, all(low)), all(high)); }
inline Bits bits_of(F v) {
  Bits b;
  std::memcpy(&b, &v, sizeof b);
  return b;
}
inline F from_bits(Bits b) {
  F v;
  std::memcpy(&v, &b, sizeof v);
  return v;
}

// 2^y for y <= 126, relative error below 3e-7; 2^-126 below that.
inline F exp2_of(F y) {
  y = maximum(y, all(-126.0f));
  const F magic = all(12582912.0f);
  const F shifted = y + magic;
  const F f = y - (shifted - magic);  // in [-1/2, 1/2]
  F r = f * 1.54035304e-4f + 1.33335581e-3f;
  r = r * f + 9.61812911e-3f;
  r = r * f + 5.55041087e-2f;
  r = r * f + 2.40226507e-1f;
  r = r * f + 6.93147181e-1f;
  r = r * f + 1.0f;
  return from_bits(bits_of(r) + (bits_of(shifted) << 23));
}

// log2 of a normal positive number, relative error below 1e-6: its exponent, and the series of atanh for its mantissa.
inline F log2_of(F v) {
  const Bits b = bits_of(v), exponent = (b - 0x3f3504f3) >> 23;
  const F m = from_bits(b - (exponent << 23));  // in [sqrt(1/2), sqrt(2))
  const F s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  const F series = s * (2.88539008f + s2 * (0.961796694f + s2 * (0.577078016f + s2 * (0.412198583f + s2 * 0.320598898f))));
  return __builtin_convertvector(exponent, F) + series;
}
