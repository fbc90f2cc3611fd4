#include "engine/model_runner.h"

#include <algorithm>
#include <cstring>

#include "backend/chain.h"
#include "base/error.h"

namespace diffulex {
namespace {

constexpr size_t kPlanAlignment = 16;  // of every vector in a plan, and of the plan itself

}  // namespace

ModelRunner::ModelRunner(Backend& backend)
    : backend_(backend), builder_(1 << 16, nullptr, false, kPlanAlignment) {}

void ModelRunner::describe(const ScheduledRequest& scheduled, RequestRow& row) const {
  const Request& request = *scheduled.request;
  row.slot = static_cast<uint32_t>(request.slot);
  row.context_len = request.cached;
  row.table_offset = static_cast<uint32_t>(request.sent_pages);
  row.page_count = static_cast<uint32_t>(request.pages.pages.size()) - row.table_offset;
  row.attention = request.attention;
  row.sampler = request.spec.sampler;
  row.blocks = request.spec.blocks;
  row.window = request.window;
  set_part(row, scheduled.rows, scheduled.store_len, scheduled.window_offset,
           scheduled.stored_blocks);
  row.adjust_count =
      row.head_count > 0 ? static_cast<uint32_t>(request.adjustments.list().size()) : 0;
}

const wire::StepPlan& ModelRunner::build(uint64_t step, const Schedule& schedule) {
  size_t tokens = 0, heads = 0, pages = 0, adjusts = 0;
  for (const ScheduledRequest& s : schedule.rows) {
    tokens += static_cast<size_t>(s.rows);
    if (const int32_t rows = s.window_offset >= 0 ? s.request->head_rows() : 0; rows > 0) {
      heads += static_cast<size_t>(rows);
      s.request->update_adjustments();
      adjusts += s.request->adjustments.list().size();
    }
    pages += s.request->pages.pages.size() - static_cast<size_t>(s.request->sent_pages);
  }
  builder_.Clear();
  int32_t *token_out = nullptr, *head_out = nullptr, *page_out = nullptr;
  uint8_t *row_out = nullptr, *adjust_out = nullptr;
  const auto vector_of = [&](size_t count, int32_t** data) {
    builder_.ForceVectorAlignment(count, sizeof(int32_t), kPlanAlignment);
    return builder_.CreateUninitializedVector<int32_t>(count, data);
  };
  // Later vectors may move the buffer: sizes first, contents through offsets afterwards.
  const auto pages_at = vector_of(pages, &page_out);
  const auto heads_at = vector_of(heads, &head_out);
  const auto tokens_at = vector_of(tokens, &token_out);
  const size_t adjust_bytes = adjusts * sizeof(decide::LogitAdjust);
  builder_.ForceVectorAlignment(adjust_bytes, 1, kPlanAlignment);
  const auto adjusts_at = builder_.CreateUninitializedVector<uint8_t>(adjust_bytes, &adjust_out);
  const size_t row_bytes = schedule.rows.size() * sizeof(RequestRow);
  builder_.ForceVectorAlignment(row_bytes, 1, kPlanAlignment);
  const auto rows_at = builder_.CreateUninitializedVector<uint8_t>(row_bytes, &row_out);
  builder_.Finish(
      wire::CreateStepPlan(builder_, step, rows_at, tokens_at, heads_at, pages_at, adjusts_at));

  auto* plan = flatbuffers::GetMutableRoot<wire::StepPlan>(builder_.GetBufferPointer());
  const auto writable = [](const flatbuffers::Vector<int32_t>* v) {
    return reinterpret_cast<int32_t*>(const_cast<uint8_t*>(v->Data()));
  };
  int32_t* token = writable(plan->tokens());
  int32_t* head = writable(plan->head_rows());
  int32_t* page = writable(plan->pages());
  const int32_t *token_begin = token, *head_begin = head, *page_begin = page;
  auto* bytes = const_cast<uint8_t*>(plan->requests()->Data());
  auto* adjust = const_cast<uint8_t*>(plan->adjustments()->Data());
  uint32_t adjusted = 0;
  for (const ScheduledRequest& s : schedule.rows) {
    RequestRow row{};
    row.first_token = static_cast<uint32_t>(token - token_begin);
    row.head_begin = static_cast<uint32_t>(head - head_begin);
    row.page_begin = static_cast<uint32_t>(page - page_begin);
    row.adjust_begin = adjusted;
    describe(s, row);
    const Request& request = *s.request;
    token = std::copy_n(request.tokens().data() + request.cached, s.rows, token);
    head += write_head_rows(row, request.tokens().data() + request.window.left, head);
    if (row.adjust_count > 0)
      std::memcpy(adjust + adjusted * sizeof(decide::LogitAdjust),
                  request.adjustments.list().data(),
                  row.adjust_count * sizeof(decide::LogitAdjust));
    adjusted += row.adjust_count;
    page = std::copy_n(request.pages.pages.data() + row.table_offset, row.page_count, page);
    std::memcpy(bytes, &row, sizeof(row));
    bytes += sizeof(row);
  }
  return *plan;
}

StepResult ModelRunner::run(uint64_t step, const Schedule& schedule, int ahead) {
  const StepResult result = backend_.begin(build(step, schedule), ahead);
  apply(schedule, result);
  return result;
}

StepResult ModelRunner::next(const Schedule& schedule, bool more) {
  const StepResult result = backend_.next(more);
  apply(schedule, result);
  return result;
}

void ModelRunner::drain() { (void)backend_.next(false); }

void ModelRunner::apply(const Schedule& schedule, const StepResult& result) {
  for (size_t i = 0; i < schedule.rows.size(); ++i) {
    const ScheduledRequest& s = schedule.rows[i];
    if (s.request == nullptr) continue;
    if (result.requests[i].token_count != static_cast<uint32_t>(s.rows))
      throw Error(DIFFULEX_E_INTERNAL, "a step went another way than it was scheduled");
    Request& request = *s.request;
    request.sent_pages = static_cast<int32_t>(request.pages.pages.size());
    request.forwarded_rows += static_cast<uint64_t>(s.rows);
    const auto tokens = result.tokens.subspan(i * result.window_stride, request.window_size());
    if (s.window_offset < 0) {
      request.cached += s.store_len;
      ++request.window.forwards;
    } else {
      request.apply(result.windows[i], tokens, s.store_len);
    }
  }
}

bool ModelRunner::worth_following(const Schedule& schedule, int most) const {
  int32_t rows = 0, heads = 0, later = 0;
  for (const ScheduledRequest& s : schedule.rows) {
    const Request& r = *s.request;
    rows += s.rows;
    heads += r.head_rows();
    later += decide::blocks_bound(r.spec.blocks, r.window, most) * r.block_size();
  }
  return backend_.worth_following(rows, heads, later);
}

}  // namespace diffulex
