#include "engine/model_files.h"

#include "io/path.h"

namespace diffulex {
namespace {

// vocab.json alone gives ids to texts, as for token ids; it is no tokenizer.
bool has_tokenizer(const std::string& dir) {
  for (const char* name : {"tokenizer.json", "merges.txt"})
    if (entry_exists(join_path(dir, name))) return true;
  return false;
}

// The same file may have been read for token ids: one problem.
void add_new(const Error& problem, ProblemList* problems) {
  for (const auto& [key, value] : problem.details())
    if (key == "path" && problems->names_path(value)) return;
  problems->add(problem);
}

void open_tokenizer(const std::string& model_dir, const std::string& dir, ModelFiles* files,
                    ProblemList* problems) {
  if (dir == model_dir && !has_tokenizer(dir)) {
    files->warnings.push_back("no tokenizer: " + dir +
                              " has neither tokenizer.json nor vocab.json and merges.txt");
    return;
  }
  ProblemList own;
  own.attempt([&] { files->tokenizer = text::Tokenizer::load(dir); });
  for (const Error& problem : own.problems()) add_new(problem, problems);
}

// Ids that the model does not know would come out of texts.
void check_vocabulary(const ModelFiles& files, const std::string& dir, ProblemList* problems) {
  if (files.tokenizer == nullptr || files.checkpoint == nullptr) return;
  const int rows = files.checkpoint->arch().vocab_size, known = files.tokenizer->vocab_size();
  if (known <= rows) return;
  problems->add(Error(DIFFULEX_E_TOKENIZER,
                      dir + ": the tokenizer has ids up to " + std::to_string(known - 1) +
                          ", vocab_size of config.json is " + std::to_string(rows) +
                          ": they are of different models")
                    .with("path", dir));
}

}  // namespace

ModelFiles open_model_files(const std::string& model_dir, const std::string& tokenizer_dir,
                            const ModelConfig* known, ProblemList* problems) {
  ModelFiles files;
  files.checkpoint = Checkpoint::open(model_dir, known, problems);
  if (files.checkpoint != nullptr) files.warnings = files.checkpoint->warnings();
  if (!problems->names_path(tokenizer_dir))
    open_tokenizer(model_dir, tokenizer_dir, &files, problems);
  check_vocabulary(files, tokenizer_dir, problems);
  problems->check(model_dir);
  return files;
}

}  // namespace diffulex
