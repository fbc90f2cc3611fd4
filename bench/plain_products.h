// Matrix products in plain oneDNN: whole prepacked matrices, oneDNN's own threads. What they
// compute is not looked at.
#pragma once

#include <dnnl.hpp>
#include <vector>

#include "random_model.h"

namespace diffulex_bench {

// Element types of a product; its result is f32.
struct PlainTypes {
  const char* name;
  dnnl::memory::data_type x, weights;
};
inline constexpr PlainTypes kPlainBf16{"bf16", dnnl::memory::data_type::bf16,
                                       dnnl::memory::data_type::bf16};
inline constexpr PlainTypes kPlainU8S8{"u8s8", dnnl::memory::data_type::u8,
                                       dnnl::memory::data_type::s8};
inline constexpr PlainTypes kPlainS8S8{"s8s8", dnnl::memory::data_type::s8,
                                       dnnl::memory::data_type::s8};

// Activations that any product may read: finite in bf16, small in int8.
dnnl::memory plain_input(const dnnl::engine& engine, PlainTypes types, int rows, int cols);

class PlainProduct {
 public:
  PlainProduct(const dnnl::engine& engine, PlainTypes types, int n, int k)
      : engine_(engine), types_(types), n_(n), k_(k) {}

  void run(dnnl::stream& stream, int rows, dnnl::memory& x, dnnl::memory& y);
  double operations(int rows) const { return 2.0 * rows * n_ * k_; }

 private:
  void prepare(int rows);

  dnnl::engine engine_;
  PlainTypes types_;
  int n_, k_, rows_ = 0;
  dnnl::memory::desc x_, y_;
  dnnl::memory weights_;
  dnnl::matmul product_;
};

// All products of a forward with a head over all rows.
class PlainForward {
 public:
  PlainForward(const ModelShape& shape, PlainTypes types, int max_rows);

  void run(int rows);
  double operations(int rows) const;

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<PlainProduct> products_;
  dnnl::memory x_, y_;
};

}  // namespace diffulex_bench
