// diffulex chat: a conversation; earlier turns come from the prefix cache.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "commands.h"
#include "session.h"
#include "terminal.h"
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
  const std::string text = View(session, kind, !options.engine.quiet).run(id);
  (void)session.finished(id);
  turns.emplace_back("assistant", text);
  if (kind == ViewKind::kNone) std::printf("%s\n", text.c_str());
  clear_interrupt();  // it ended this answer, not the conversation
  (void)diffulex_request_release(session.engine(), id);
}

// A question that fails (too long, say) is forgotten; the conversation goes on.
void ask(Session& session, const Options& options, Session::Turns& turns,
         const std::string& question) {
  turns.emplace_back("user", question);
  try {
    answer(session, options, turns);
  } catch (const Failure& failure) {
    turns.pop_back();
    std::fprintf(stderr, "diffulex: error: %s\n", failure.what());
  }
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
    if (!std::getline(std::cin, line)) {
      if (terminal) std::printf("\n");
      return interrupted() ? kInterruptedExit : 0;
    }
    if (line == "/quit") return 0;
    if (line.empty()) continue;
    if (line == "/reset") {
      reset();
      continue;
    }
    ask(session, options, turns, line);
  }
}

}  // namespace

Run add_chat(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->engine.add_to(app);
  options->sampling.add_to(app);
  app.add_option("--system", options->system, "system message");
  app.add_option("--view", options->view, "how to show the denoising")
      ->check(CLI::IsMember({"auto", "live", "plain", "none"}));
  return [options] { return run(*options); };
}

}  // namespace diffulex_command
