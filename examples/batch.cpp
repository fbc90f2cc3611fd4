// Many requests at once in thread mode: the engine steps itself, one thread takes the events of all of them.
//   batch MODEL_DIR QUESTION...
#include <diffulex.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace {

struct Destroy {
  void operator()(diffulex_engine* engine) const { diffulex_engine_destroy(engine); }
};

bool failed(const char* what, diffulex_status status, diffulex_error* const& error) {
  if (status >= 0) return false;
  std::fprintf(stderr, "%s: %s\n", what, diffulex_error_message(error));
  diffulex_error_free(error);
  return true;
}

void print_answer(diffulex_engine* engine, const diffulex_event& event, const std::string& question) {
  char text[4096];
  size_t size = 0;
  if (diffulex_request_read_text(engine, event.request, 0, text, sizeof(text), &size, nullptr) < 0) return;
  std::printf("%s\n  -> %.*s\n", question.c_str(), static_cast<int>(size), text);
  (void)diffulex_request_release(engine, event.request);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MODEL_DIR QUESTION...\n", argv[0]);
    return 2;
  }
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = argv[1];
  config.buffer_blocks = 2;
  config.run_mode = DIFFULEX_RUN_THREAD;
  diffulex_engine* raw = nullptr;
  diffulex_error* error = nullptr;
  if (failed("load", diffulex_engine_create(&config, &raw, &error), error)) return 1;
  const std::unique_ptr<diffulex_engine, Destroy> engine(raw);
  if (failed("start", diffulex_engine_start(raw, &error), error)) return 1;

  const std::vector<std::string> questions(argv + 2, argv + argc);
  for (size_t i = 0; i < questions.size(); ++i) {
    const std::string prompt = "<|im_start|>user\n" + questions[i] + "<|im_end|>\n<|im_start|>assistant\n";
    diffulex_request_params params;
    diffulex_request_params_init(&params, sizeof(params));
    params.user_tag = i;  // comes back in every event
    diffulex_request_id request = 0;
    if (failed("submit", diffulex_request_submit_text(raw, prompt.data(), prompt.size(), &params, &request, &error), error)) return 1;
  }
  for (size_t open = questions.size(); open > 0;) {
    diffulex_event events[16];
    size_t count = 0;
    if (failed("wait", diffulex_engine_wait(raw, events, sizeof(events[0]), 16, &count, -1, &error), error)) return 1;
    for (size_t i = 0; i < count; ++i) {
      if (events[i].type != DIFFULEX_EVENT_FINISHED) continue;
      print_answer(raw, events[i], questions[events[i].user_tag]);
      --open;
    }
  }
  return failed("stop", diffulex_engine_stop(raw, 1, &error), error) ? 1 : 0;
}
