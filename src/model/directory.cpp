#include "model/directory.h"

#include <dirent.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <system_error>

#include "io/path.h"

namespace diffulex {
namespace {

[[noreturn]] void fail(const std::string& dir, const std::string& what) {
  throw Error(DIFFULEX_E_IO, dir + ": " + what).with("path", dir);
}

struct ForeignFormat {
  std::string_view extension;
  const char* advice;
};
constexpr const char* kPickle =
    "weights in pickle files are not read, as reading them can run code; convert them to "
    "safetensors";
constexpr std::array<ForeignFormat, 8> kForeignFormats = {{
    {".gguf", "GGUF is not read; use the safetensors checkpoint that it was made from"},
    {".bin", kPickle},
    {".pth", kPickle},
    {".pt", kPickle},
    {".ckpt", kPickle},
    {".h5", "weights of TensorFlow are not read; convert them to safetensors"},
    {".msgpack", "weights of Flax are not read; convert them to safetensors"},
    {".npz", "weights of NumPy or MLX are not read; convert them to safetensors"},
}};

// Beside weights of every format.
bool is_of_training(const std::string& path) {
  const std::string name = file_name(path);
  return name.starts_with("training_args") || name.starts_with("optimizer") ||
         name.starts_with("scheduler") || name.starts_with("rng_state");
}

// The names in a directory. (std::filesystem's iterator ends the process where it finds no memory.)
class Listing {
 public:
  explicit Listing(const std::string& dir) : dir_(dir), entries_(::opendir(dir.c_str())) {
    if (entries_ == nullptr) refuse(errno);
  }
  ~Listing() { ::closedir(entries_); }
  Listing(const Listing&) = delete;
  Listing& operator=(const Listing&) = delete;

  const char* next() {  // null: that was all
    errno = 0;
    const dirent* const entry = ::readdir(entries_);
    if (entry == nullptr && errno != 0) refuse(errno);
    return entry != nullptr ? entry->d_name : nullptr;
  }

 private:
  [[noreturn]] void refuse(int code) const {
    if (code == ENOMEM) throw std::bad_alloc();
    if (code == ENOENT) fail(dir_, "there is no such directory");
    if (code == ENOTDIR) fail(dir_, "not a directory; name the one that holds config.json");
    fail(dir_, std::generic_category().message(code));
  }

  const std::string& dir_;
  DIR* entries_;
};

}  // namespace

void check_directory(const std::string& dir) { const Listing listing(dir); }

std::vector<std::string> files_with(const std::string& dir, std::string_view extension) {
  std::vector<std::string> paths;
  Listing listing(dir);
  for (const char* name = nullptr; (name = listing.next()) != nullptr;) {
    const std::string_view file(name);
    if (file.size() > extension.size() && file.ends_with(extension))
      paths.push_back(join_path(dir, file));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

Error missing_config(const std::string& dir) {
  const bool no_weights = files_with(dir, ".safetensors").empty();
  if (no_weights) {  // GGUF files, for one, have no config.json
    Error foreign = missing_weights(dir);
    if (foreign.status() == DIFFULEX_E_MODEL_UNSUPPORTED) return foreign;
  }
  std::string message = dir + ": there is no config.json";
  if (file_exists(join_path(dir, "adapter_config.json"))) {
    message += "; adapter_config.json tells of a LoRA adapter: merge it into its base model";
  } else if (file_exists(join_path(dir, "snapshots"))) {
    message += "; name the directory inside 'snapshots' that holds it";
  } else if (no_weights) {
    message += " and no *.safetensors file: is it the directory of a checkpoint?";
  }
  return Error(DIFFULEX_E_IO, message).with("path", join_path(dir, "config.json"));
}

Error missing_weights(const std::string& dir) {
  for (const ForeignFormat& format : kForeignFormats) {
    std::vector<std::string> paths = files_with(dir, format.extension);
    std::erase_if(paths, is_of_training);
    if (paths.empty()) continue;
    return Error(DIFFULEX_E_MODEL_UNSUPPORTED, file_name(paths[0]) + ": " + format.advice)
        .with("path", paths[0]);
  }
  return Error(DIFFULEX_E_MODEL_FORMAT,
               dir + ": there is no *.safetensors file; is the download complete?")
      .with("path", dir);
}

}  // namespace diffulex
