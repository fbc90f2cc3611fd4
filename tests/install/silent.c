/* Uses the library with its standard streams closed or watched: whatever it writes there shows up. */
#include <diffulex.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* argv[1]: model; argv[2]: "closed" closes 0, 1 and 2 and lets ordinary files take their numbers; "open" leaves them. */
int main(int argc, char** argv) {
  diffulex_engine_config config;
  diffulex_engine* engine = NULL;
  diffulex_request_id request = 0;
  diffulex_token tokens[] = {1021, 304, 198, 500};
  diffulex_token mask = 1023;
  int fds[3], i;
  if (argc != 3) return 2;
  if (strcmp(argv[2], "closed") == 0) {
    for (i = 0; i < 3; ++i) close(i);
    for (i = 0; i < 3; ++i) { /* the next files opened are 0, 1 and 2 */
      char name[] = "silent-0";
      name[7] = (char)('0' + i);
      fds[i] = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
      if (fds[i] != i) return 3;
    }
  }
  diffulex_engine_config_init(&config, sizeof config);
  config.model_dir = "/nowhere";
  if (diffulex_engine_create(&config, &engine, NULL) >= 0) return 4;
  config.model_dir = argv[1];
  if (diffulex_engine_create(&config, &engine, NULL) < 0) return 5;
  if (diffulex_request_submit(engine, &mask, 1, NULL, &request, NULL) >= 0) return 6;
  if (diffulex_request_submit(engine, tokens, 4, NULL, &request, NULL) < 0) return 7;
  while (diffulex_engine_step(engine, NULL) == DIFFULEX_OK) continue;
  diffulex_engine_destroy(engine);
  if (strcmp(argv[2], "closed") == 0)
    for (i = 0; i < 3; ++i)
      if (lseek(i, 0, SEEK_END) != 0) return 8;
  return 0;
}
