// Checkpoint directories of random weights, for real metadata or for a shape alone.
#pragma once

#include <cstdint>
#include <string>

#include "random_model.h"

namespace diffulex_bench {

// Copies the small files of `metadata` (config.json, tokenizer, chat template, ...) to the new
// directory `out` and writes the weight files beside them: those that
// model.safetensors.index.json lists, else model.safetensors. Matrices are random, vectors near 1,
// in the dtype of config.json. Returns the bytes of all weights. Throws diffulex::Error and
// std::runtime_error.
uint64_t write_random_checkpoint(const std::string& metadata, const std::string& out);

// config.json of an SDAR model of that shape, without a tokenizer, into the new directory `out`.
void write_config(const ModelShape& shape, const std::string& out);

}  // namespace diffulex_bench
