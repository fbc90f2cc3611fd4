// What stands behind the opaque handles.
#pragma once

#include <memory>
#include <string>

#include "diffulex.h"
#include "engine/engine.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

struct diffulex_tokenizer {
  std::shared_ptr<const diffulex::text::Tokenizer> tokenizer;
  mutable std::atomic<uint32_t> references{1};
};

struct diffulex_detok {
  diffulex::text::Detokenizer detokenizer;
};

struct diffulex_engine {
  std::unique_ptr<diffulex::Engine> engine;
  diffulex_tokenizer* tokenizer = nullptr;  // one reference; null: the model has none
  std::string kernels;
  ~diffulex_engine() { diffulex_tokenizer_release(tokenizer); }
};
