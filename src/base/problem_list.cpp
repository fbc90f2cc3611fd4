#include "base/problem_list.h"

#include <algorithm>

namespace diffulex {
namespace {

constexpr size_t kMaxTold = 20;
constexpr size_t kMaxBytes = 600;  // of one problem: names come from files, of any length

// One line of bounded length; a character that is cut goes whole.
std::string presentable(const std::string& message) {
  size_t end = std::min(message.size(), kMaxBytes);
  while (end < message.size() && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
  std::string text = message.substr(0, end);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  return end < message.size() ? text + "..." : text;
}

Error with_message(const Error& problem, std::string message) {
  Error copy(problem.status(), std::move(message));
  for (const auto& [key, value] : problem.details()) static_cast<Error&&>(copy).with(key, value);
  return copy;
}

bool is_about(const Error& problem, const std::string& path) {
  const auto& details = problem.details();
  return std::find(details.begin(), details.end(), Error::Detail("path", path)) != details.end();
}

bool is_about_one_file(const std::vector<Error>& problems) {
  for (const auto& [key, value] : problems[0].details())
    if (key == "path")
      return std::all_of(problems.begin(), problems.end(),
                         [&path = value](const Error& other) { return is_about(other, path); });
  return false;
}

}  // namespace

bool ProblemList::is_about_files(diffulex_status status) {
  return status == DIFFULEX_E_IO || status == DIFFULEX_E_MODEL_FORMAT ||
         status == DIFFULEX_E_MODEL_UNSUPPORTED || status == DIFFULEX_E_TOKENIZER;
}

void ProblemList::add(const Error& problem) {
  Error fit = with_message(problem, presentable(problem.message()));
  if (told_.insert(fit.message()).second) problems_.push_back(std::move(fit));
}

void ProblemList::add(const ManyProblems& problems) {
  for (const Error& problem : problems.parts()) add(problem);
}

void ProblemList::add(const ProblemList& others) {
  for (const Error& problem : others.problems_) add(problem);
  notes_.insert(notes_.end(), others.notes_.begin(), others.notes_.end());
}

bool ProblemList::names_path(const std::string& path) const {
  return std::any_of(problems_.begin(), problems_.end(),
                     [&](const Error& problem) { return is_about(problem, path); });
}

// What is malformed comes first: it may be why something looks unsupported.
std::vector<const Error*> ProblemList::in_order() const {
  std::vector<const Error*> order;
  for (const Error& problem : problems_) order.push_back(&problem);
  std::stable_partition(order.begin(), order.end(), [](const Error* problem) {
    return problem->status() != DIFFULEX_E_MODEL_UNSUPPORTED;
  });
  return order;
}

std::string ProblemList::notes() const {
  std::string text;
  for (const std::string& note : notes_) text.append(text.empty() ? "" : "; ").append(note);
  return text.empty() ? text : " (" + text + ")";
}

void ProblemList::check(const std::string& path) const {
  if (problems_.empty()) return;
  if (problems_.size() == 1) {
    const Error& only = problems_[0];
    const std::string name = path.substr(path.rfind('/') + 1) + ": ";  // all where there is no '/'
    const bool placed = only.message().starts_with(path) || only.message().starts_with(name) ||
                        !is_about(only, path);
    throw with_message(only, (placed ? "" : path + ": ") + only.message() + notes());
  }
  const std::vector<const Error*> order = in_order();
  const size_t told = std::min(order.size(), kMaxTold);
  std::string message = path + ": " + std::to_string(order.size()) + " problems: ";
  for (size_t i = 0; i < told; ++i) message.append(i == 0 ? "" : "; ").append(order[i]->message());
  if (told < order.size()) message += "; ... and " + std::to_string(order.size() - told) + " more";
  Error summary(order[0]->status(), message + notes());
  if (!is_about_one_file(problems_)) static_cast<Error&&>(summary).with("path", path);  // in place
  for (size_t i = 0; i < told; ++i)
    for (const auto& [key, value] : order[i]->details())
      static_cast<Error&&>(summary).with(key, value);
  throw ManyProblems(std::move(summary), problems_);
}

}  // namespace diffulex
