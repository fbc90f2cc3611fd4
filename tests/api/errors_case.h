// One case of docs/errors.md: calls with bad input, and what came back.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "diffulex.h"

namespace diffulex_tests::errors {

// What one failing call said.
struct Outcome {
  diffulex_status status = DIFFULEX_OK;
  bool silent = false;  // the function gives no error object
  std::string culprit;  // what the message must name; empty: the detail that the row gives
  std::string message;
  std::map<std::string, std::string> details;
};

using Outcomes = std::vector<Outcome>;
using Case = std::function<Outcomes()>;
using Cases = std::map<std::string, Case>;  // by the name of the row

inline Outcome outcome_of(std::string culprit, diffulex_status status, diffulex_error* error) {
  Outcome outcome{status, false, std::move(culprit), diffulex_error_message(error), {}};
  EXPECT_EQ(diffulex_error_status(error), status);
  for (const char* key : {"option", "contradicts", "allowed", "path", "tensor", "key", "device",
                          "line", "bytes_needed", "bytes_free"})
    if (const char* value = diffulex_error_detail(error, key)) outcome.details[key] = value;
  diffulex_error_free(error);
  return outcome;
}

// A struct to be filled.
template <class Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof(value);
  return value;
}

template <class... Values>
std::string bytes_of(const Values&... values) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&values), sizeof(values)), ...);
  return bytes;
}

// Calls, and checks that the outputs are as they were. call: takes diffulex_error**.
template <class Call, class... Outs>
Outcome attempt(std::string culprit, Call&& call, const Outs&... outs) {
  const std::string before = bytes_of(outs...);
  diffulex_error* error = nullptr;
  const diffulex_status status = call(&error);
  EXPECT_EQ(bytes_of(outs...), before) << "an output was written";
  return outcome_of(std::move(culprit), status, error);
}

inline Outcome silent(diffulex_status status) { return {status, true, "", "", {}}; }

inline Outcomes operator+(Outcomes a, Outcomes b) {
  for (Outcome& outcome : b) a.push_back(std::move(outcome));
  return a;
}

// What the other files know.
void add_config_cases(Cases* cases);
void add_struct_cases(Cases* cases);
void add_request_cases(Cases* cases);
void add_read_cases(Cases* cases);
void add_null_cases(Cases* cases);
void add_state_cases(Cases* cases);
void add_sampling_cases(Cases* cases);
void add_cache_cases(Cases* cases);
void add_text_cases(Cases* cases);
void add_model_config_cases(Cases* cases);
void add_safetensors_cases(Cases* cases);
void add_shard_cases(Cases* cases);
void add_tokenizer_cases(Cases* cases);

}  // namespace diffulex_tests::errors
