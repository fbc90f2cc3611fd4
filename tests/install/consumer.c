/* An outside program: loads the shipped model and generates a few tokens. */
#include <diffulex.h>
#include <stdio.h>
#include <string.h>

static int fail(const char* what, diffulex_error* error) {
  fprintf(stderr, "%s: %s\n", what, diffulex_error_message(error));
  diffulex_error_free(error);
  return 1;
}

int main(int argc, char** argv) {
  const char prompt[] = "<|im_start|>user\nSort the list: 9, 3, 5<|im_end|>\n<|im_start|>assistant\n";
  diffulex_engine_config config;
  diffulex_engine* engine = NULL;
  diffulex_error* error = NULL;
  diffulex_request_id request = 0;
  char text[256];
  size_t size = 0;
  if (argc != 2) return 2;
  if (diffulex_abi_version() != DIFFULEX_ABI_VERSION) return 3;
  diffulex_engine_config_init(&config, sizeof config);
  config.model_dir = argv[1];
  if (diffulex_engine_create(&config, &engine, &error) < 0) return fail("create", error);
  if (diffulex_request_submit_text(engine, prompt, sizeof prompt - 1, NULL, &request, &error) < 0) return fail("submit", error);
  while (diffulex_engine_step(engine, &error) == DIFFULEX_OK) continue;
  if (diffulex_request_read_text(engine, request, 0, text, sizeof text, &size, &error) < 0) return fail("read", error);
  diffulex_engine_destroy(engine);
  printf("%.*s\n", (int)size, text);
  return size == 7 && memcmp(text, "3, 5, 9", 7) == 0 ? 0 : 4;
}
