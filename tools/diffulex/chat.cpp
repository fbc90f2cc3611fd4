// diffulex chat: a conversation; earlier turns come from the prefix cache.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "commands.h"
#include "session.h"
#include "view.h"

namespace diffulex_command {
namespace {

struct Options {
  EngineOptions engine;
  SamplingOptions sampling;
  std::string system, view = "auto";
};

void answer(Session& session, const Options& options, Session::Turns& turns) {
  const ViewKind kind = view_kind(options.view);
  diffulex_request_params params = options.sampling.params();
  if (kind == ViewKind::kLive) params.flags |= DIFFULEX_REQUEST_TRACK_SLOTS;
  const diffulex_request_id id = session.submit(session.render(turns), params);
  turns.emplace_back("assistant", View(session, kind, false).run(id));
  const diffulex_request_info info = session.info(id);
  if (kind == ViewKind::kLive && !options.engine.quiet)
    std::printf("\x1b[2m%u prompt tokens, %u from the cache, %u output tokens, %s\x1b[0m\n", info.prompt_len, info.cached_len,
                info.committed_len, finish_name(info.finish));
  (void)diffulex_request_release(session.engine(), id);
}

int run(const Options& options) {
  Session session(options.engine);
  const bool terminal = isatty(STDIN_FILENO) != 0;
  Session::Turns turns;
  const auto reset = [&] {
    turns.clear();
    if (!options.system.empty()) turns.emplace_back("system", options.system);
  };
  reset();
  if (terminal) std::printf("/reset forgets the conversation, /quit ends it\n");
  std::string line;
  while (true) {
    if (terminal) std::printf("> ");
    std::fflush(stdout);
    if (!std::getline(std::cin, line) || line == "/quit") return 0;
    if (line.empty()) continue;
    if (line == "/reset") {
      reset();
      continue;
    }
    turns.emplace_back("user", line);
    answer(session, options, turns);
  }
}

}  // namespace

Run add_chat(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->engine.add_to(app);
  options->sampling.add_to(app);
  app.add_option("--system", options->system, "system message");
  app.add_option("--view", options->view, "how to show the denoising")->check(CLI::IsMember({"auto", "live", "plain", "none"}));
  return [options] { return run(*options); };
}

}  // namespace diffulex_command
