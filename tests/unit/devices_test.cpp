// What a device can hold weights in.
#include <gtest/gtest.h>

#include "backend/devices.h"
#include "base/error.h"

namespace diffulex {
namespace {

TEST(Devices, Int8WeightsAreForTheCpu) {
  Device device;
  device.selector = "cpu";
  EXPECT_NO_THROW(check_int8_weights(device));
  device.selector = "cuda:1";
  try {
    check_int8_weights(device);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), DIFFULEX_E_UNSUPPORTED);
    EXPECT_NE(std::string(e.what()).find("cuda:1"), std::string::npos);
  }
}

}  // namespace
}  // namespace diffulex
