// Compiled with AVX2 and FMA; chosen at run time where the processor has them.
#define O4D_NAMESPACE avx2
#include "kernel.inl"
