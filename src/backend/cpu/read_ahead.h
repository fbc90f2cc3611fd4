// Has the system read the weights that come next while the ones before them are packed.
#pragma once

#include <cstddef>
#include <vector>

#include "model/weights.h"

namespace diffulex::cpu {

class ReadAhead {
 public:
  explicit ReadAhead(const ModelWeights& weights);  // borrowed; in the order of packing

  // The next `bytes` bytes of weights are to be packed now.
  void advance(size_t bytes);

 private:
  static constexpr size_t kAhead = size_t{192} << 20;  // bytes, a few matrices

  std::vector<const WeightView*> views_;
  size_t next_ = 0;   // of views_: the first that was not asked for
  size_t asked_ = 0;  // bytes
  size_t packed_ = 0;
};

}  // namespace diffulex::cpu
