// What an engine says about the type of its weights, and what that takes.
#include <string>

#include "session.h"

namespace diffulex_tests {
namespace {

uint64_t planned_weights(diffulex_dtype dtype) {
  const std::string dir = model_dir();
  diffulex_engine_config config = default_config(dir);
  config.devices = "cpu";
  config.weight_dtype = dtype;
  diffulex_plan plan{};
  plan.struct_size = sizeof(plan);
  EXPECT_EQ(diffulex_engine_plan(&config, &plan, nullptr), DIFFULEX_OK);
  return plan.weight_bytes;
}

TEST(WeightDtype, Int8IsToldAndTakesLess) {
  Session session({}, {}, [](auto& config) {
    config.devices = "cpu";
    config.weight_dtype = DIFFULEX_DTYPE_I8;
  });
  ASSERT_NE(session.engine, nullptr) << session.failure.message;
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(diffulex_engine_get_info(session.engine, &info, nullptr), DIFFULEX_OK);
  EXPECT_EQ(info.weight_dtype, DIFFULEX_DTYPE_I8);
  EXPECT_NE(info.kv_dtype, DIFFULEX_DTYPE_I8);
  EXPECT_NE(std::string(info.kernels).find("int8"), std::string::npos) << info.kernels;

  const uint64_t i8 = planned_weights(DIFFULEX_DTYPE_I8), f32 = planned_weights(DIFFULEX_DTYPE_F32);
  EXPECT_LT(info.weight_bytes, f32 / 3);
  EXPECT_LT(i8, f32 / 3);
  EXPECT_GT(i8, f32 / 4);  // scales, norms and an embedding in bf16
}

TEST(WeightDtype, ACacheIsNotInt8) {
  Session session({}, {}, [](auto& config) { config.kv_dtype = DIFFULEX_DTYPE_I8; });
  EXPECT_EQ(session.failure.status, DIFFULEX_E_INVALID_ARGUMENT);
  EXPECT_EQ(session.failure.option, "kv_dtype");
}

TEST(WeightDtype, Int8IsNotForCudaDevices) {
  Session session({}, {}, [](auto& config) {
    config.devices = "cuda";
    config.weight_dtype = DIFFULEX_DTYPE_I8;
  });
  if (session.failure.status == DIFFULEX_E_DEVICE_UNAVAILABLE) GTEST_SKIP() << "no such device";
  EXPECT_EQ(session.failure.status, DIFFULEX_E_UNSUPPORTED);
  EXPECT_EQ(session.failure.option, "weight_dtype");
}

}  // namespace
}  // namespace diffulex_tests
