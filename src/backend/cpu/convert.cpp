#include "backend/cpu/convert.h"

#include <cstring>

namespace diffulex::cpu {
namespace {

template <class T>
T load(const void* base, size_t i) {
  T value;
  std::memcpy(&value, static_cast<const unsigned char*>(base) + i * sizeof(T), sizeof(T));
  return value;
}

float load_as_float(const void* from, DType type, size_t i) {
  switch (type) {
    case DType::kF32: return load<float>(from, i);
    case DType::kBF16: return from_bf16(load<uint16_t>(from, i));
    case DType::kF16: return from_f16(load<uint16_t>(from, i));
  }
  return 0;
}

}  // namespace

float from_f16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

void convert(const void* from, DType from_type, void* to, DType to_type, size_t count) {
  if (from_type == to_type) {
    std::memcpy(to, from, count * size_of(to_type));
    return;
  }
  auto* out = static_cast<unsigned char*>(to);
  for (size_t i = 0; i < count; ++i) {
    const float value = load_as_float(from, from_type, i);
    if (to_type == DType::kF32) {
      std::memcpy(out + i * sizeof(float), &value, sizeof(float));
    } else {
      const uint16_t bits = to_bf16(value);
      std::memcpy(out + i * sizeof(bits), &bits, sizeof(bits));
    }
  }
}

}  // namespace diffulex::cpu
