// diffulex generate: one prompt, one answer.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "session.h"
#include "terminal.h"
#include "view.h"

namespace diffulex_command {
namespace {

struct Options {
  EngineOptions engine;
  SamplingOptions sampling;
  std::string prompt, prompt_file, system, view = "auto";
  bool raw = false, json = false;
};

std::string read_prompt(const Options& options) {
  if (!options.prompt.empty()) return options.prompt;
  if (options.prompt_file.empty()) return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream in(options.prompt_file, std::ios::binary);
  if (!in) throw Failure(options.prompt_file + ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

nlohmann::json result_of(const Session& session, diffulex_request_id id, const std::string& text) {
  const diffulex_request_info info = session.info(id);
  return {{"text", text},
          {"finish", finish_name(info.finish)},
          {"prompt_tokens", info.prompt_len},
          {"cached_tokens", info.cached_len},
          {"output_tokens", info.committed_len},
          {"steps", info.steps},
          {"denoise_steps", info.denoise_steps},
          {"forwarded_tokens", info.forwarded_tokens},
          {"seconds", static_cast<double>(info.end_ns - info.queued_ns) * 1e-9}};
}

int run(const Options& options) {
  const std::string prompt = read_prompt(options);
  Session session(options.engine);
  Session::Turns turns;
  if (!options.system.empty()) turns.emplace_back("system", options.system);
  turns.emplace_back("user", prompt);
  const ViewKind kind = options.json ? ViewKind::kNone : view_kind(options.view);
  diffulex_request_params params = options.sampling.params();
  if (kind == ViewKind::kLive) params.flags |= DIFFULEX_REQUEST_TRACK_SLOTS;
  const diffulex_request_id id = session.submit(options.raw ? prompt : session.render(turns), params);
  const std::string text = View(session, kind, !options.engine.quiet).run(id);
  if (options.json) std::printf("%s\n", result_of(session, id, text).dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return session.info(id).finish == DIFFULEX_FINISH_ERROR ? 1 : 0;
}

}  // namespace

Run add_generate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->engine.add_to(app);
  options->sampling.add_to(app);
  app.add_option("-p,--prompt", options->prompt, "the prompt (default: standard input)");
  app.add_option("--prompt-file", options->prompt_file, "reads the prompt from a file");
  app.add_option("--system", options->system, "system message");
  app.add_flag("--raw", options->raw, "no chat template: the prompt as it is");
  app.add_flag("--json", options->json, "prints the result as JSON");
  app.add_option("--view", options->view, "how to show the denoising")->check(CLI::IsMember({"auto", "live", "plain", "none"}));
  return [options] { return run(*options); };
}

}  // namespace diffulex_command
