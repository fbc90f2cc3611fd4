#include "model/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "io/path.h"
#include "model/model_config.h"
#include "model/problem_list.h"
#include "model/shards.h"
#include "model/tensor_name.h"

namespace diffulex {
namespace {

struct Found {
  const TensorEntry* entry;
  std::string file;
};

WeightView view_of(const TensorEntry& entry, DType dtype) {
  WeightView view;
  view.data = entry.data;
  view.dtype = dtype;
  view.rows = entry.shape[0];
  view.cols = entry.shape.size() == 2 ? entry.shape[1] : 1;
  view.name = entry.name;
  return view;
}

// Rows that nobody reads may follow, see TensorSlot::most_rows.
bool fits(const TensorEntry& entry, const TensorSlot& slot) {
  if (entry.shape.size() != slot.shape.size()) return false;
  return std::equal(entry.shape.begin() + 1, entry.shape.end(), slot.shape.begin() + 1) &&
         entry.shape[0] >= slot.shape[0] &&
         entry.shape[0] <= std::max(slot.shape[0], slot.most_rows);
}

bool same_values(const WeightView& a, const WeightView& b) {
  return a.dtype == b.dtype && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace

// The steps of open(); collects problems until all tensors have been looked at.
class Checkpoint::Opener {
 public:
  Opener(const std::string& dir, std::span<const Family> known, Checkpoint* checkpoint)
      : dir_(dir), known_(known), result_(*checkpoint) {}

  void run() {
    ModelConfig model = read_model_config(dir_, known_);
    result_.arch_ = std::move(model.arch);
    result_.warnings_ = std::move(model.warnings);
    result_.files_ = open_shards(dir_);
    collect_tensors();
    for (const TensorSlot& slot : model.family->tensors(result_.arch_, &result_.weights_)) {
      fill(slot);
    }
    report_unexpected();
    problems_.check(dir_);
    settle_head();
  }

 private:
  void collect_tensors() {
    for (const SafetensorsFile& file : result_.files_) {
      for (const TensorEntry& entry : file.entries()) collect(entry, file_name(file.path()));
    }
  }

  void collect(const TensorEntry& entry, const std::string& file) {
    const auto [place, added] =
        found_.try_emplace(canonical_tensor_name(entry.name), Found{&entry, file});
    if (added) return;
    const Found& other = place->second;
    problems_.add(file + ": tensor '" + entry.name + "' is there twice, also as '" +
                      other.entry->name + "' in " + other.file,
                  entry.name);
  }

  void fill(const TensorSlot& slot) {
    const auto place = found_.find(slot.name);
    if (place == found_.end()) {
      if (slot.view == &result_.weights_.head) {  // whether it may be absent is settled at the end
        head_name_ = slot.name;
        return;
      }
      problems_.add("missing tensor '" + slot.name + "' of shape " + shape_text(slot.shape),
                    slot.name);
      return;
    }
    const auto [entry, file] = std::move(place->second);
    found_.erase(place);
    const std::optional<DType> dtype = weight_dtype(entry->dtype);
    const std::string subject = file + ": tensor '" + entry->name + "' has ";
    if (!dtype)
      problems_.add(subject + "dtype " + entry->dtype + ", not F32, F16 or BF16", entry->name);
    if (!fits(*entry, slot)) {
      problems_.add(
          subject + "shape " + shape_text(entry->shape) + ", expected " + shape_text(slot.shape),
          entry->name);
    } else if (dtype) {
      *slot.view = view_of(*entry, *dtype);
      slot.view->rows = slot.shape[0];
      result_.weight_bytes_ += slot.view->bytes();
    }
  }

  void report_unexpected() {
    for (const auto& [name, found] : found_) {
      const std::string what = found.file + ": unexpected tensor '" + found.entry->name + "' " +
                               found.entry->dtype + " " + shape_text(found.entry->shape);
      if (is_ignorable_tensor(name)) {
        result_.warnings_.push_back(what + " is ignored");
      } else {
        problems_.add(what, found.entry->name);
      }
    }
  }

  // Config and file may disagree about tying: the file is right.
  void settle_head() {
    WeightView& head = result_.weights_.head;
    const WeightView& embedding = result_.weights_.embedding;
    bool& tied = result_.arch_.tied_embeddings;
    if (!head) {
      if (!tied) warn("there is no " + head_name_ + ": the embedding is used for it, as if tied");
      tied = true;
      head = embedding;
    } else if (tied && same_values(head, embedding)) {
      result_.weight_bytes_ -= head.bytes();
      head = embedding;
    } else if (tied) {
      warn("config.json ties the embeddings, but " + head.name +
           " differs from the embedding: not tied");
      tied = false;
    }
  }

  void warn(std::string text) { result_.warnings_.push_back(std::move(text)); }

  const std::string& dir_;
  const std::span<const Family> known_;
  Checkpoint& result_;
  std::map<std::string, Found> found_;  // by canonical name; what is left in the end is unexpected
  ProblemList problems_;
  std::string head_name_;  // of the head that is not there
};

ArchSpec read_arch(const std::string& dir) { return read_model_config(dir).arch; }

std::shared_ptr<Checkpoint> Checkpoint::open(const std::string& dir,
                                             std::span<const Family> known) {
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  Opener(dir, known, checkpoint.get()).run();
  return checkpoint;
}

void Checkpoint::release_pages() const noexcept {
  for (const SafetensorsFile& file : files_) file.release_pages();
}

}  // namespace diffulex
