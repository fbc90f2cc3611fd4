#include "backend/cpu/read_ahead.h"

#include "io/mapped_file.h"

namespace diffulex::cpu {

ReadAhead::ReadAhead(const ModelWeights& weights) {
  const auto add = [&](const WeightView& view) {
    if (view.mapped) views_.push_back(&view);
  };
  for (const LayerWeights& layer : weights.layers)
    for (const WeightView* view :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      add(*view);
  add(weights.head);
  if (weights.embedding.data != weights.head.data) add(weights.embedding);
}

void ReadAhead::advance(size_t bytes) {
  packed_ += bytes;
  for (; next_ < views_.size() && asked_ < packed_ + kAhead; ++next_) {
    const WeightView& view = *views_[next_];
    MappedFile::read_ahead(view.data, view.bytes());
    asked_ += view.bytes();
  }
}

}  // namespace diffulex::cpu
