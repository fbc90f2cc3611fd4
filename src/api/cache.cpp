// The prefix cache as a user sees it.
#include <span>
#include <string_view>

#include "api/guard.h"
#include "api/handles.h"

using diffulex::Error;
using diffulex::KvCacheManager;
namespace api = diffulex::api;

namespace {

diffulex::Engine& engine_of(const diffulex_engine* engine) {
  return *api::required(engine, "engine").engine;
}

std::span<const diffulex_token> tokens_of(const diffulex_token* tokens, size_t count) {
  if (count > 0) api::required(tokens, "tokens");
  return {tokens, count};
}

diffulex::ChainLink root_of(const char* salt) {
  return diffulex::PrefixIndex::root(std::string_view(salt != nullptr ? salt : ""));
}

diffulex_cache_entry entry_of(const KvCacheManager& cache, diffulex::PageId page) {
  const auto facts = cache.facts(page);
  diffulex_cache_entry entry{};
  entry.hash = facts.hash;
  entry.parent_hash = facts.parent;
  entry.page = static_cast<uint32_t>(page);
  entry.token_count = static_cast<uint32_t>(cache.page_size());
  entry.references = static_cast<uint32_t>(cache.references(page));
  entry.hits = facts.hits;
  entry.last_step = facts.last_used;
  return entry;
}

}  // namespace

extern "C" {

diffulex_status diffulex_cache_match(const diffulex_engine* engine, const diffulex_token* tokens,
                                     size_t count, const char* salt, size_t* out_matched,
                                     diffulex_error** error) {
  return api::guard(error, [&] {
    const auto prefix = tokens_of(tokens, count);
    size_t& matched = api::required(out_matched, "out_matched");
    matched = engine_of(engine).with_cache([&](const KvCacheManager& cache) {
      return static_cast<size_t>(cache.match(prefix, root_of(salt)));
    });
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_cache_list(const diffulex_engine* engine, diffulex_cache_entry* entries,
                                    size_t stride, size_t capacity, size_t* out_count,
                                    diffulex_error** error) {
  return api::guard(error, [&] {
    api::check_array(entries, stride, capacity, "entries");
    size_t& count = api::required(out_count, "out_count");
    engine_of(engine).with_cache([&](const KvCacheManager& cache) {
      count = static_cast<size_t>(cache.cached_pages());
      if (count > capacity)
        throw Error(DIFFULEX_E_BUFFER_TOO_SMALL, "entries holds " + std::to_string(capacity) +
                                                     ", " + std::to_string(count) + " are needed")
            .with("option", "entries");
      size_t at = 0;
      for (diffulex::PageId page = 0; page < cache.total_pages(); ++page)
        if (cache.findable(page)) api::write_element(entries, stride, at++, entry_of(cache, page));
    });
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_cache_pin(diffulex_engine* engine, const diffulex_token* tokens,
                                   size_t count, const char* salt, uint64_t* out_pin,
                                   size_t* out_pinned, diffulex_error** error) {
  return api::guard(error, [&] {
    const auto prefix = tokens_of(tokens, count);
    diffulex::Engine& e = engine_of(engine);
    api::required(out_pin, "out_pin");
    int32_t positions = 0;
    const uint64_t pin = e.with_cache([&](KvCacheManager& cache) {
      const int32_t keep = cache.pages_for(e.config().shape.max_model_len);
      return cache.pin(prefix, root_of(salt), keep, &positions);
    });
    if (pin == 0)
      throw Error(DIFFULEX_E_NOT_FOUND, "the cache holds no page of these tokens")
          .with("option", "tokens");
    *out_pin = pin;
    if (out_pinned != nullptr) *out_pinned = static_cast<size_t>(positions);
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_cache_unpin(diffulex_engine* engine, uint64_t pin,
                                     diffulex_error** error) {
  return api::guard(error, [&] {
    if (!engine_of(engine).with_cache([&](KvCacheManager& cache) { return cache.unpin(pin); }))
      throw Error(DIFFULEX_E_NOT_FOUND, "there is no pin " + std::to_string(pin))
          .with("option", "pin");
    return DIFFULEX_OK;
  });
}

diffulex_status diffulex_cache_clear(diffulex_engine* engine, diffulex_error** error) {
  return api::guard(error, [&] {
    engine_of(engine).with_cache([](KvCacheManager& cache) { cache.clear(); });
    return DIFFULEX_OK;
  });
}

}  // extern "C"
