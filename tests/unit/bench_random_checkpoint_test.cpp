#include "random_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "backend/cpu/packed_matrix.h"
#include "model/checkpoint.h"
#include "safetensors_writer.h"

namespace diffulex {
namespace {

using diffulex_bench::write_random_checkpoint;
using testing::TempDir;
using testing::TinySdar;

float magnitude(const WeightView& view) {
  float most = 0;
  for (int64_t i = 0; i < view.rows * view.cols; ++i)
    most = std::max(most, std::fabs(cpu::to_float(view.data, view.dtype, i)));
  return most;
}

// Metadata alone becomes a directory that opens: by its index or without one, in every dtype.
TEST(RandomCheckpoint, OpensInEveryDtype) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16})
    for (const int shards : {1, 2}) {
      TinySdar model;
      model.dtype = dtype;
      model.shards = shards;
      const TempDir metadata, out;
      model.write(metadata.path());
      const uint64_t bytes = write_random_checkpoint(metadata.path(), out.path());
      const auto checkpoint = Checkpoint::open(out.path());
      EXPECT_EQ(checkpoint->weight_bytes(), bytes);
      EXPECT_EQ(checkpoint->weights().layers[1].up.dtype, dtype);
      EXPECT_TRUE(
          std::filesystem::exists(out / (shards == 1 ? "model.safetensors" : model.shard_name(1))));
      const float matrix = magnitude(checkpoint->weights().layers[1].up),
                  norm = magnitude(checkpoint->weights().final_norm);
      EXPECT_GT(matrix, 0.01f);
      EXPECT_LT(matrix, 0.04f);
      EXPECT_GT(norm, 1.0f);
      EXPECT_LT(norm, 2.0f);
    }
}

TEST(RandomCheckpoint, LeavesATiedHeadOut) {
  TinySdar model;
  model.tied = true;
  const TempDir metadata, out;
  model.write_config(metadata.path());
  write_random_checkpoint(metadata.path(), out.path());
  EXPECT_TRUE(Checkpoint::open(out.path())->warnings().empty());
}

TEST(RandomCheckpoint, OfAShapeAlone) {
  const diffulex_bench::ModelShape shape = {"tiny", 64, 2, 4, 2, 16, 96, 320};
  const TempDir out;
  write_config(shape, out.path());
  write_random_checkpoint(out.path(), out.path());
  const auto checkpoint = Checkpoint::open(out.path());
  EXPECT_EQ(checkpoint->arch().mask_token, 319);
  EXPECT_EQ(checkpoint->weights().layers.size(), 2u);
}

}  // namespace
}  // namespace diffulex
