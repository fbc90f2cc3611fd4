/* Shows how a block diffusion model writes: after each step one line per block, its state and its slots.
 *   blocks MODEL_DIR "QUESTION" */
#include <diffulex.h>
#include <stdio.h>
#include <stdlib.h>

enum { kSlots = 4096, kBlocks = 512 };

static int fail(const char* what, diffulex_error* error) {
  fprintf(stderr, "%s: %s\n", what, diffulex_error_message(error));
  diffulex_error_free(error);
  return EXIT_FAILURE;
}

static void print_slot(const diffulex_tokenizer* tokenizer, const diffulex_slot* slot) {
  char text[256];
  size_t size = 0, i;
  if (slot->token < 0) {
    fputs("[    ]", stdout);
    return;
  }
  if (diffulex_tokenizer_decode(tokenizer, &slot->token, 1, DIFFULEX_TEXT_KEEP_SPECIAL, text, sizeof text, &size, NULL) < 0) return;
  for (i = 0; i < size; ++i)
    if (text[i] == '\n') text[i] = ' ';
  printf((slot->flags & DIFFULEX_SLOT_REVEALED) != 0 ? "{%.*s}" : "%.*s", (int)size, text);
}

static void print_canvas(const diffulex_engine* engine, diffulex_request_id request, diffulex_slot* slots, diffulex_block* blocks) {
  static const char* const states[] = {"planned", "active", "filled", "committed", "cached"};
  diffulex_snapshot shot = {sizeof shot, 0, 0, 0, 0, 0, 0, 0, 0};
  uint32_t b, i;
  if (diffulex_request_snapshot(engine, request, &shot, slots, sizeof *slots, kSlots, blocks, sizeof *blocks, kBlocks, NULL) < 0) return;
  printf("step %llu: %u tokens committed\n", (unsigned long long)shot.step, shot.committed_len);
  for (b = 0; b < shot.block_count && b < kBlocks; ++b) {
    if (blocks[b].state == DIFFULEX_BLOCK_CACHED) continue;
    printf("  block %u %-9s %u/%u confidence %.2f  ", blocks[b].index, states[blocks[b].state], blocks[b].filled, blocks[b].length,
           (double)blocks[b].mean_confidence);
    for (i = 0; i < blocks[b].length; ++i) {
      const uint32_t at = blocks[b].start - shot.first_position + i;
      if (at < shot.slot_count && at < kSlots) print_slot(diffulex_engine_tokenizer(engine), &slots[at]);
    }
    putchar('\n');
  }
}

int main(int argc, char** argv) {
  diffulex_engine_config config;
  diffulex_request_params params;
  diffulex_engine* engine = NULL;
  diffulex_error* error = NULL;
  diffulex_request_id request = 0;
  diffulex_slot* slots = malloc(kSlots * sizeof *slots);
  diffulex_block* blocks = malloc(kBlocks * sizeof *blocks);
  char prompt[4096];
  int size;

  if (argc != 3 || slots == NULL || blocks == NULL) {
    fprintf(stderr, "usage: %s MODEL_DIR QUESTION\n", argv[0]);
    return 2;
  }
  diffulex_engine_config_init(&config, sizeof config);
  config.model_dir = argv[1];
  config.buffer_blocks = 4;
  if (diffulex_engine_create(&config, &engine, &error) < 0) return fail("load", error);
  size = snprintf(prompt, sizeof prompt, "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n", argv[2]);
  diffulex_request_params_init(&params, sizeof params);
  params.flags = DIFFULEX_REQUEST_TRACK_SLOTS;
  if (size < 0 || (size_t)size >= sizeof prompt) return 2;
  if (diffulex_request_submit_text(engine, prompt, (size_t)size, &params, &request, &error) < 0) return fail("submit", error);
  while (diffulex_engine_step(engine, &error) == DIFFULEX_OK) print_canvas(engine, request, slots, blocks);
  diffulex_engine_destroy(engine);
  free(slots);
  free(blocks);
  return EXIT_SUCCESS;
}
