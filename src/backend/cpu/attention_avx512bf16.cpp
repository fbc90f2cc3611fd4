#include "backend/cpu/attention_kernels.h"

namespace diffulex::cpu {

const AttentionKernels* bf16_attention() { return nullptr; }

}  // namespace diffulex::cpu
