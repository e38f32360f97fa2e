#define O4D_NAMESPACE base
#include "kernel.inl"
