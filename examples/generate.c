/* Asks a model one question and prints the answer as it becomes final.
 *   generate MODEL_DIR "QUESTION" */
#include <diffulex.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char* what, diffulex_error* error) {
  fprintf(stderr, "%s: %s\n", what, diffulex_error_message(error));
  diffulex_error_free(error);
  return EXIT_FAILURE;
}

/* The prompt in the model's chat format; the caller frees it. */
static char* render(const diffulex_engine* engine, const char* question, size_t* size, diffulex_error** error) {
  const diffulex_tokenizer* tokenizer = diffulex_engine_tokenizer(engine);
  const diffulex_message message = {"user", question};
  char* text;
  /* The first call tells the size. */
  if (diffulex_tokenizer_render_chat(tokenizer, &message, 1, NULL, NULL, 0, size, NULL) != DIFFULEX_E_BUFFER_TOO_SMALL) *size = 0;
  text = malloc(*size + 1);
  if (text != NULL && diffulex_tokenizer_render_chat(tokenizer, &message, 1, NULL, text, *size, size, error) < 0) {
    free(text);
    text = NULL;
  }
  return text;
}

int main(int argc, char** argv) {
  diffulex_engine_config config;
  diffulex_request_params params;
  diffulex_engine* engine = NULL;
  diffulex_error* error = NULL;
  diffulex_request_id request = 0;
  diffulex_status status;
  char* prompt;
  size_t size = 0, shown = 0;

  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL_DIR QUESTION\n", argv[0]);
    return 2;
  }
  diffulex_engine_config_init(&config, sizeof config);
  config.model_dir = argv[1];
  config.buffer_blocks = 4; /* denoise up to four blocks at once */
  if (diffulex_engine_create(&config, &engine, &error) < 0) return fail("load", error);

  prompt = render(engine, argv[2], &size, &error);
  if (prompt == NULL) return fail("prompt", error);
  diffulex_request_params_init(&params, sizeof params);
  params.max_tokens = 256;
  status = diffulex_request_submit_text(engine, prompt, size, &params, &request, &error);
  free(prompt);
  if (status < 0) return fail("submit", error);

  while ((status = diffulex_engine_step(engine, &error)) == DIFFULEX_OK) {
    char text[1024];
    /* Committed text only ever grows: read on from where the last read ended. */
    if (diffulex_request_read_text(engine, request, shown, text, sizeof text, &size, &error) < 0) return fail("read", error);
    fwrite(text, 1, size, stdout);
    fflush(stdout);
    shown += size;
  }
  if (status < 0) return fail("step", error);
  putchar('\n');
  diffulex_request_release(engine, request);
  diffulex_engine_destroy(engine);
  return EXIT_SUCCESS;
}
