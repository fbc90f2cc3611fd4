// diffulex generate: one prompt, one answer.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.h"
#include "session.h"
#include "terminal.h"
#include "view.h"

namespace diffulex_command {
namespace {

struct Options {
  EngineOptions engine;
  SamplingOptions sampling;
  std::optional<std::string> prompt;
  std::string prompt_file, system, view = "auto";
  bool raw = false, json = false;
};

std::string read_all(std::istream& in) { return {std::istreambuf_iterator<char>(in), {}}; }

std::string read_prompt(const Options& options) {
  if (options.prompt) return *options.prompt;
  std::string text;
  if (options.prompt_file.empty()) {
    text = read_all(std::cin);
  } else {
    std::ifstream in(options.prompt_file, std::ios::binary);
    if (!in) throw Failure(options.prompt_file + ": cannot be read");
    text = read_all(in);
  }
  // The newline that ends a file is no part of a message.
  if (!options.raw && !text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

double per(double count, double by) { return by > 0 ? count / by : 0; }

nlohmann::ordered_json result_of(const Session& session, diffulex_request_id id,
                                 const std::string& text) {
  const diffulex_request_info info = session.info(id);
  const double tokens = info.committed_len;
  const double seconds = static_cast<double>(info.end_ns - info.queued_ns) * 1e-9;
  return {{"text", text},
          {"finish", finish_name(info.finish)},
          {"prompt_tokens", info.prompt_len},
          {"cached_tokens", info.cached_len},
          {"output_tokens", info.committed_len},
          {"steps", info.steps},
          {"denoise_steps", info.denoise_steps},
          {"forwarded_tokens", info.forwarded_tokens},
          {"tokens_per_denoising_forward", per(tokens, info.denoise_steps)},
          {"seconds", seconds},
          {"tokens_per_second", per(tokens, seconds)}};
}

int run(const Options& options) {
  const std::string prompt = read_prompt(options);
  if (interrupted()) return kInterruptedExit;  // while waiting for input
  Session session(options.engine);
  Session::Turns turns;
  if (!options.system.empty()) turns.emplace_back("system", options.system);
  turns.emplace_back("user", prompt);
  const ViewKind kind = options.json ? ViewKind::kNone : view_kind(options.view);
  diffulex_request_params params = options.sampling.params();
  if (kind == ViewKind::kLive) params.flags |= DIFFULEX_REQUEST_TRACK_SLOTS;
  const diffulex_request_id id =
      session.submit(options.raw ? prompt : session.render(turns), params);
  const std::string text = View(session, kind, !options.engine.quiet).run(id);
  if (options.json)
    std::printf("%s\n", result_of(session, id, text)
                            .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
                            .c_str());
  if (kind == ViewKind::kNone && !options.json) std::printf("%s\n", text.c_str());
  const diffulex_request_info info = session.finished(id);
  return info.finish == DIFFULEX_FINISH_ABORTED ? kInterruptedExit : 0;
}

}  // namespace

Run add_generate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->engine.add_to(app);
  options->sampling.add_to(app);
  auto* prompt =
      app.add_option("-p,--prompt", options->prompt, "the prompt (default: standard input)");
  app.add_option("--prompt-file", options->prompt_file, "reads the prompt from a file")
      ->excludes(prompt);
  auto* system = app.add_option("--system", options->system, "system message");
  app.add_flag("--raw", options->raw, "no chat template: the prompt as it is")->excludes(system);
  app.add_flag("--json", options->json, "prints the result as JSON");
  app.add_option("--view", options->view, "how to show the denoising")
      ->check(CLI::IsMember({"auto", "live", "plain", "none"}));
  return [options] { return run(*options); };
}

}  // namespace diffulex_command
