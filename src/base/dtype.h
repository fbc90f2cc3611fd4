// Element types of weights, caches and activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace diffulex {

enum class DType : uint8_t { kF32, kF16, kBF16, kI8 };

constexpr size_t size_of(DType dtype) {
  return dtype == DType::kF32 ? 4 : dtype == DType::kI8 ? 1 : 2;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kI8:
      return "i8";
  }
  return "?";
}

}  // namespace diffulex
