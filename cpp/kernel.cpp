// Which instruction set's kernels run here.
#include "kernel.h"

#include <cstdlib>
#include <cstring>

#include "export.h"

namespace o4d {
namespace {

#if defined(O4D_X86)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

const Kernels& choose_kernels() {
#if defined(O4D_X86)
  const char* asked = std::getenv("ORBIT4D_ISA");
  const bool any = !asked || !*asked;
  if (has_avx512() && (any || !std::strcmp(asked, "avx512"))) return avx512::kernels;
  if (has_avx2() && (any || std::strcmp(asked, "base"))) return avx2::kernels;
#endif
  return base::kernels;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose_kernels();
  return chosen;
}

}  // namespace o4d

O4D_EXPORT const char* o4d_instruction_set() { return o4d::kernels().name; }
