// Attention on the device against the dense oracle, and against itself in other layouts.
#include <cinttypes>
#include <string>

#include "attention_batch.h"
#include "attention_timing.h"

namespace {

using namespace diffulex_gpu;

struct Errors {
  double relative = 0;  // of a vector, by norm
  double absolute = 0;  // of an element
  bool untouched = true, complete = true;
};

int pick(std::mt19937_64& rng, std::initializer_list<int> list) {
  return *(list.begin() + rng() % list.size());
}

Request random_request(std::mt19937_64& rng, int longest) {
  Request r{};
  const int g = pick(rng, {4, 8, 32});
  r.seed = rng();
  r.rule.mode = static_cast<Rule::Mode>(rng() % 5);
  r.rule.g = g;
  const bool from_start = r.rule.mode == Rule::kPrefixFull || rng() % 4 == 0;
  r.context = from_start ? 0 : static_cast<int>(rng() % static_cast<uint64_t>(longest / 4)) * 4;
  r.tokens = 1 + static_cast<int>(rng() % 150);
  r.rule.prompt = 1 + static_cast<int>(rng() % 100);
  r.rule.padded = (r.rule.prompt + g - 1) / g * g;
  r.rule.hole = rng() % 3 == 0;
  if (r.rule.hole && rng() % 2 == 0) r.rule.padded = r.rule.prompt + 150;  // whole tiles hidden
  return r;
}

Batch random_batch(std::mt19937_64& rng, DType dtype, int dim, int longest) {
  Batch b{};
  b.dtype = dtype;
  b.dim = dim;
  b.kv_heads = pick(rng, {1, 2, 3});
  b.heads = b.kv_heads * pick(rng, {1, 2, 3, 4, 7, 8, 16});
  b.page_size = pick(rng, {1, 4, 8, 16, 32, 256});
  b.window = rng() % 3 == 0 ? 1 + static_cast<int>(rng() % 200) : 0;
  b.seed = rng();
  const int count = 1 + static_cast<int>(rng() % 4);
  for (int i = 0; i < count; ++i) b.requests.push_back(random_request(rng, longest));
  return b;
}

// One head of one row of one request.
void compare(const Batch& b, size_t request, int t, int h, const Elements& out, Errors& errors) {
  const Request& r = b.requests[request];
  const int kv_head = h / (b.heads / b.kv_heads), a = r.context + t;
  Rule rule = r.rule;
  rule.window = b.window;
  const std::vector<double> expected = diffulex_oracle::attend(
      rule, a, r.context, r.context + r.tokens, b.dim,
      [&](int d) {
        return static_cast<double>(rounded(sample(r.seed, kQuery, h, a, d), b.dtype)) *
               static_cast<double>(scale_of(b));
      },
      [&](int k, int d) { return rounded(sample(r.seed, kKey, kv_head, k, d), b.dtype); },
      [&](int k, int d) { return rounded(sample(r.seed, kValue, kv_head, k, d), b.dtype); });
  double difference = 0, norm = 0;
  for (int d = 0; d < b.dim; ++d) {
    const int row = first_row(b, request) + t;
    const double e = expected[static_cast<size_t>(d)];
    const double x = out.get(static_cast<size_t>((row * b.heads + h) * b.dim + d));
    if (std::isnan(x)) errors.complete = false;
    difference += (x - e) * (x - e);
    norm += e * e;
    errors.absolute = std::max(errors.absolute, std::abs(x - e));
  }
  const double relative = norm == 0 ? (difference == 0 ? 0.0 : 1.0) : std::sqrt(difference / norm);
  errors.relative = std::max(errors.relative, relative);
}

void check_coverage(const Batch& b, const Elements& out, Errors& errors) {
  const size_t vector = static_cast<size_t>(b.heads * b.dim);
  std::vector<bool> used(out.bytes().size() / diffulex::size_of(b.dtype) / vector);
  for (size_t r = 0; r < b.requests.size(); ++r)
    for (int t = 0; t < b.requests[r].tokens; ++t)
      used[static_cast<size_t>(first_row(b, r) + t)] = true;
  for (size_t row = 0; row < used.size(); ++row)
    for (size_t i = 0; i < vector; ++i) {
      const bool nan = std::isnan(out.get(row * vector + i));
      if (used[row] && nan) errors.complete = false;
      if (!used[row] && !nan) errors.untouched = false;
    }
}

Errors errors_of(const Batch& b, std::mt19937_64& rng) {
  Errors errors;
  const Elements out = run(b);
  check_coverage(b, out, errors);
  for (size_t r = 0; r < b.requests.size(); ++r) {
    const int last = b.requests[r].tokens - 1;
    for (const int t :
         {0, last / 2, static_cast<int>(rng() % static_cast<uint64_t>(last + 1)), last})
      for (int i = 0; i < 2; ++i)
        compare(b, r, t, static_cast<int>(rng() % static_cast<uint64_t>(b.heads)), out, errors);
  }
  return errors;
}

bool equals_the_oracle(DType dtype, int dim, int rounds, int longest, uint64_t seed) {
  std::mt19937_64 rng(seed + static_cast<uint64_t>(dim));
  Errors worst;
  for (int i = 0; i < rounds; ++i) {
    const Errors e = errors_of(random_batch(rng, dtype, dim, longest), rng);
    worst.relative = std::max(worst.relative, e.relative);
    worst.absolute = std::max(worst.absolute, e.absolute);
    worst.untouched = worst.untouched && e.untouched;
    worst.complete = worst.complete && e.complete;
  }
  const bool close = dtype == DType::kF32 ? worst.relative < 2e-5 : worst.absolute < 1.2e-2;
  const bool ok = close && worst.untouched && worst.complete;
  std::printf("%s oracle %s dim %3d, %2d batches, context < %4d: relative %.1e absolute %.1e%s%s\n",
              ok ? "ok    " : "FAILED", diffulex::name_of(dtype).data(), dim, rounds, longest,
              worst.relative, worst.absolute, worst.untouched ? "" : ", wrote unused rows",
              worst.complete ? "" : ", NaN");
  return ok;
}

// The last rows of one request of `keys` positions, however it is laid out.
bool same_in_every_layout(DType dtype, int dim, int keys, int window) {
  Batch b{dtype, 4, 2, dim, 8, window, {}, 1};
  b.requests.push_back({{Rule::kBlockCausal, 8, 0, 0, 0, false}, 0, keys, 5});
  const Elements reference = run(b);
  const size_t vector = static_cast<size_t>(b.heads * b.dim) * diffulex::size_of(dtype);
  bool ok = true;
  int layouts = 0;
  for (const int page_size : {1, 8, 32, 256})
    for (const int context : {8, 64, 96, keys / 2 / 8 * 8, keys - 32, keys - 8}) {
      b.page_size = page_size;
      b.seed += 1;
      b.requests[0].context = context;
      b.requests[0].tokens = keys - context;
      const Elements out = run(b);
      const size_t first = static_cast<size_t>(first_row(b, 0)),
                   skip = static_cast<size_t>(context);
      ok = ok && std::memcmp(out.bytes().data() + first * vector,
                             reference.bytes().data() + (first + skip) * vector,
                             (static_cast<size_t>(keys) - skip) * vector) == 0;
      ++layouts;
    }
  std::printf("%s bit-identical %s dim %d, %d keys, window %d: %d layouts\n",
              ok ? "ok    " : "FAILED", diffulex::name_of(dtype).data(), dim, keys, window,
              layouts);
  return ok;
}

// A request alone, whose vectors are shared out to narrow blocks, with one other, where its parts
// of keys have blocks of their own, and among so many others that one block does all its parts.
bool same_in_every_company(DType dtype, int dim, int window) {
  const int kv_heads = dim > 128 ? 2 : 8, others = dim > 128 ? 80 : 32;
  Batch b{dtype, 2 * kv_heads, kv_heads, dim, 16, window, {}, 1};
  b.requests.push_back({{Rule::kBlockCausal, 8, 1500, 2700, 0, true}, 3000, 40, 7});
  const Elements single = run(b);
  b.requests.push_back({{Rule::kBlockCausal, 8, 0, 0, 0, false}, 3000, 300, 8});
  const Elements alone = run(b);
  std::mt19937_64 rng(dim);
  for (int i = 0; i < others; ++i) b.requests.push_back(random_request(rng, 60));
  b.seed = 2;
  const Elements crowded = run(b);
  const size_t vector = static_cast<size_t>(b.heads * b.dim) * diffulex::size_of(dtype);
  const size_t own = static_cast<size_t>(b.requests[0].tokens) * vector;
  bool ok = std::memcmp(single.bytes().data(), alone.bytes().data(), own) == 0;
  for (size_t r = 0; r < 2; ++r) {
    const size_t first = static_cast<size_t>(first_row(b, r)) * vector;
    ok = ok && std::memcmp(alone.bytes().data() + first, crowded.bytes().data() + first,
                           static_cast<size_t>(b.requests[r].tokens) * vector) == 0;
  }
  Errors errors;
  for (size_t r = 0; r < 2; ++r) compare(b, r, 17, 1, crowded, errors);
  ok = ok && (dtype == DType::kF32 ? errors.relative < 2e-5 : errors.absolute < 1.2e-2);
  std::printf("%s bit-identical %s dim %d, alone and among %d requests, window %d: absolute %.1e\n",
              ok ? "ok    " : "FAILED", diffulex::name_of(dtype).data(), dim, others, window,
              errors.absolute);
  return ok;
}

// With requests enough for warpgroups; with several parts of keys, enough that they are not shared
// out to blocks of their own.
Batch warpgroup_batch(std::mt19937_64& rng, int dim, int longest) {
  Batch b = random_batch(rng, DType::kBF16, dim, longest);
  b.kv_heads = 8, b.heads = 8 * (longest < 1000 ? pick(rng, {2, 3, 4, 7}) : pick(rng, {4, 7}));
  while (b.requests.size() < 16) b.requests.push_back(random_request(rng, longest));
  for (Request& r : b.requests) r.tokens = std::max(r.tokens, 64 + static_cast<int>(rng() % 90));
  return b;
}

// What warpgroups compute is what the portable kernel does, bit for bit.
bool same_by_warpgroups(int dim, int longest, uint64_t seed) {
  std::mt19937_64 rng(seed + static_cast<uint64_t>(dim + longest));
  bool same = true, taken = true;
  Errors worst;
  for (int round = 0; round < 3; ++round) {
    const Batch b = warpgroup_batch(rng, dim, longest);
    bool by_warpgroups = false, portable_by_them = false;
    const Elements out = run(b, warpgroup_multiprocessors(), &by_warpgroups);
    const Elements portable = run(b, 0, &portable_by_them);
    taken = taken && by_warpgroups && !portable_by_them;
    same = same && out.bytes() == portable.bytes();
    check_coverage(b, out, worst);
    for (size_t r = 0; r < b.requests.size(); ++r)
      compare(b, r, static_cast<int>(rng() % 64), static_cast<int>(rng() % 16), out, worst);
  }
  const bool ok = same && taken && worst.complete && worst.untouched && worst.absolute < 1.2e-2;
  std::printf("%s warpgroups dim %3d, context < %4d: %s the portable kernel, absolute %.1e%s%s%s\n",
              ok ? "ok    " : "FAILED", dim, longest, same ? "bits of" : "OTHER BITS than",
              worst.absolute, worst.untouched ? "" : ", wrote unused rows",
              worst.complete ? "" : ", NaN", taken ? "" : ", NOT BY WARPGROUPS");
  return ok;
}

// More heads in a group than a block takes.
bool wide_group(DType dtype) {
  std::mt19937_64 rng(3);
  Batch b{dtype, 150, 1, 64, 16, 0, {}, 2};
  b.requests.push_back({{Rule::kPrefixCausal, 4, 0, 0, 0, false}, 40, 30, 6});
  const Errors e = errors_of(b, rng);
  const bool ok = e.complete && e.untouched && e.absolute < 1.2e-2;
  std::printf("%s group of 150 heads, %s: absolute %.1e\n", ok ? "ok    " : "FAILED",
              diffulex::name_of(dtype).data(), e.absolute);
  return ok;
}

bool refuses() {
  diffulex::cuda::AttentionArgs args{};
  args.kv = {DType::kBF16, 2, 64, 8, 8, nullptr, nullptr, nullptr, nullptr};
  args.heads = 4, args.scale = 1, args.item_count = 1, args.max_keys = 5000;
  bool ok = true;
  const auto refused = [&](auto change) {
    diffulex::cuda::AttentionArgs wrong = args;
    change(wrong);
    ok = ok && diffulex::cuda::launch_attention(wrong, nullptr) == cudaErrorInvalidValue;
  };
  refused([](auto& a) { a.kv.dim = 60; });
  refused([](auto& a) { a.kv.dim = 520; });
  refused([](auto& a) { a.kv.dim = 8; });
  refused([](auto& a) { a.heads = 3; });
  refused([](auto& a) { a.kv.page_size = 0; });
  refused([](auto& a) { a.kv.dtype = DType::kF16; });
  refused([](auto& a) { a.scale = NAN; });
  refused([](auto& a) { a.max_keys = 0; });
  refused([](auto&) {});  // no workspace
  std::printf("%s sizes that cannot be computed are refused\n", ok ? "ok    " : "FAILED");
  return ok;
}

}  // namespace

bool all_by_warpgroups(uint64_t seed, std::initializer_list<int> lengths) {
  bool ok = true;
  for (const int dim : {16, 64, 80, 128})
    for (const int longest : lengths) ok = same_by_warpgroups(dim, longest, seed) && ok;
  return ok;
}

// Arguments: a seed; "times" and the number of a workload; or "warpgroups", for tools that watch a
// device, which take long.
int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: nothing was tested\n");
    return 77;
  }
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "times") {
    print_times(argc > 2 ? std::atoi(argv[2]) : -1);
    return 0;
  }
  if (what == "warpgroups") return all_by_warpgroups(1, {40}) ? 0 : 1;
  const uint64_t seed =
      what.empty() ? std::random_device()() : std::strtoull(what.c_str(), nullptr, 10);
  std::printf("seed %" PRIu64 "\n", seed);
  bool ok = refuses();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int dim : {16, 24, 64, 80, 128, 200, 256, 264, 512})
      ok = equals_the_oracle(dtype, dim, dim > 128 ? 3 : 8, 400, seed) && ok;
    ok = equals_the_oracle(dtype, 128, 3, 3500, seed) && ok;
    ok = wide_group(dtype) && ok;
    ok = same_in_every_layout(dtype, 128, 1288, 0) && ok;
    ok = same_in_every_layout(dtype, 128, 1288, 300) && ok;
    ok = same_in_every_layout(dtype, 256, 1160, 0) && ok;
    ok = same_in_every_layout(dtype, 64, 3208, 0) && ok;
    for (const int dim : {64, 128, 256, 512}) ok = same_in_every_company(dtype, dim, 0) && ok;
    ok = same_in_every_company(dtype, 128, 1500) && ok;
  }
  if (warpgroup_multiprocessors() > 0) ok = all_by_warpgroups(seed, {40, 400, 3000}) && ok;
  std::printf("%s\n", ok ? "all checks passed" : "SOME CHECKS FAILED");
  print_times(-1);
  return ok ? 0 : 1;
}
