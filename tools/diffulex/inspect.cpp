// diffulex inspect: what the library, a checkpoint and a configuration are.
#include <cstdio>
#include <memory>

#include "commands.h"
#include "facts.h"
#include "facts_text.h"
#include "session.h"

namespace diffulex_command {
namespace {

struct Options {
  EngineOptions engine;
  bool load = false, json = false, markdown = false;
};

// The plan comes first: it is the one that finds what the library does not run.
Facts model_and_plan(const Options& options) {
  const Facts plan = plan_facts(options.engine);
  Facts out = {{"checkpoint", checkpoint_facts(options.engine.model)}, {"plan", plan}};
  if (options.load) out["engine"] = engine_facts(options.engine);
  return out;
}

int run(const Options& options) {
  if (options.markdown) {
    print_options_markdown();
    return 0;
  }
  Facts out = options.engine.model.empty()
                  ? Facts{{"build", build_facts()}, {"devices", device_facts()}}
                  : model_and_plan(options);
  out["engine_options"] = engine_option_facts();
  out["strategies"] = strategy_facts();
  if (options.json) {
    std::printf("%s\n", out.dump(2).c_str());
  } else {
    print_facts(out);
  }
  return 0;
}

}  // namespace

Run add_inspect(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->engine.add_to(app, false);
  app.add_flag("--load", options->load, "loads the model and tells what an engine runs with");
  app.add_flag("--json", options->json, "prints JSON");
  app.add_flag("--options-markdown", options->markdown,
               "prints every option as the document docs/configuration.md");
  return [options] { return run(*options); };
}

}  // namespace diffulex_command
