// The part of selection that reads logits.
#pragma once

#include <cstdint>

#include "decide/select.h"

namespace diffulex::cpu {

// Prepares n <= decide::kTileIds logits in place (scales them by 1 / temperature where that is
// positive, turns what is not finite into -infinity) and sums them up. first_id: id of logits[0].
// flags: decide::SamplerFlags. uniform: draws one id; negative: no draw.
void reduce_tile(float* logits, int n, int32_t first_id, float temperature, uint32_t flags,
                 float uniform, decide::TilePartial* out);

}  // namespace diffulex::cpu
