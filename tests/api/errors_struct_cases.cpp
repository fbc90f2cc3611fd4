// Structs of sizes that no caller means, or with fields that the library does not know.
#include <cstring>

#include "errors_engine.h"

namespace diffulex_tests::errors {
namespace {

constexpr uint32_t kTooSmall[] = {0, 3, 7};
constexpr uint32_t kTooLarge[] = {1 << 20, UINT32_MAX};

// A struct as a later version might have it, with a field that is set.
template <class Struct>
struct Longer {
  Struct known;
  uint64_t future;
};

Outcomes config_of_size(uint32_t size) {
  return config_fails([=](auto& c) { c.struct_size = size; });
}

Outcomes params_of_size(uint32_t size) {
  diffulex_request_params params = params_of(1);
  params.struct_size = size;
  return {submit_fails(survivor(), {1, 2}, &params)};
}

template <class Struct, class Call>
Outcome out_of_size(uint32_t size, Call&& call) {
  Struct out;
  std::memset(static_cast<void*>(&out), 0xAB, sizeof(out));
  out.struct_size = size;
  return attempt(
      "out.struct_size", [&](diffulex_error** e) { return call(&out, e); }, out);
}

// Every function that fills a versioned struct.
Outcomes outs_of_size(uint32_t size) {
  Session& session = survivor();
  diffulex_engine* const engine = session.engine;
  const diffulex_request_id id = session.submit({1, 2});
  const std::string dir = model_dir();
  const diffulex_engine_config config = default_config(dir);
  Outcomes outcomes = {
      out_of_size<diffulex_plan>(
          size, [&](auto* out, auto** e) { return diffulex_engine_plan(&config, out, e); }),
      out_of_size<diffulex_engine_info>(
          size, [&](auto* out, auto** e) { return diffulex_engine_get_info(engine, out, e); }),
      out_of_size<diffulex_engine_stats>(
          size, [&](auto* out, auto** e) { return diffulex_engine_get_stats(engine, out, e); }),
      out_of_size<diffulex_request_info>(
          size, [&](auto* out, auto** e) { return diffulex_request_get_info(engine, id, out, e); }),
      out_of_size<diffulex_snapshot>(size,
                                     [&](auto* out, auto** e) {
                                       return diffulex_request_snapshot(engine, id, out, nullptr, 0,
                                                                        0, nullptr, 0, 0, e);
                                     }),
      out_of_size<diffulex_device_info>(
          size, [](auto* out, auto** e) { return diffulex_device_get(0, out, e); }),
      out_of_size<diffulex_option_info>(
          size, [](auto* out, auto** e) { return diffulex_engine_option(0, out, e); }),
      out_of_size<diffulex_option_info>(size, [](auto* out, auto** e) {
        return diffulex_strategy_option("multi_bd", 0, out, e);
      })};
  forget(session, id);
  return outcomes;
}

Outcomes of_sizes(const std::vector<Outcomes (*)(uint32_t)>& makers,
                  const std::vector<uint32_t>& sizes) {
  Outcomes outcomes;
  for (auto* make : makers)
    for (const uint32_t size : sizes) outcomes = outcomes + make(size);
  return outcomes;
}

Outcomes config_tail() {
  const std::string dir = model_dir();
  Longer<diffulex_engine_config> longer{default_config(dir), 1};
  longer.known.struct_size = sizeof(longer);
  diffulex_engine* engine = nullptr;
  auto plan = sized<diffulex_plan>();
  return {
      attempt(
          "", [&](auto** e) { return diffulex_engine_create(&longer.known, &engine, e); }, engine),
      attempt(
          "", [&](auto** e) { return diffulex_engine_plan(&longer.known, &plan, e); }, plan)};
}

Outcomes params_tail() {
  Longer<diffulex_request_params> longer{params_of(1), 1};
  longer.known.struct_size = sizeof(longer);
  return {submit_fails(survivor(), {1, 2}, &longer.known)};
}

}  // namespace

void add_struct_cases(Cases* cases) {
  Cases& c = *cases;
  const std::vector<uint32_t> small(std::begin(kTooSmall), std::end(kTooSmall));
  const std::vector<uint32_t> large(std::begin(kTooLarge), std::end(kTooLarge));
  c["config-struct-small"] = [=] { return of_sizes({config_of_size}, small); };
  c["config-struct-tail"] = config_tail;
  c["params-struct-small"] = [=] { return of_sizes({params_of_size}, small); };
  c["params-struct-tail"] = params_tail;
  c["out-struct-small"] = [=] { return of_sizes({outs_of_size}, small); };
  c["struct-unset"] = [=] {
    return of_sizes({config_of_size, params_of_size, outs_of_size}, large);
  };
}

// A newer caller's longer struct reads zero where this library has nothing to say.
TEST(Errors, TheTailOfALongerResultIsZero) {
  Longer<diffulex_device_info> longer;
  std::memset(static_cast<void*>(&longer), 0xAB, sizeof(longer));
  longer.known.struct_size = sizeof(longer);
  ASSERT_EQ(diffulex_device_get(0, &longer.known, nullptr), DIFFULEX_OK);
  EXPECT_EQ(longer.known.struct_size, sizeof(longer));
  EXPECT_EQ(longer.future, 0u);
}

}  // namespace diffulex_tests::errors
