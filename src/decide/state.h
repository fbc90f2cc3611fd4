// Plain data that decisions read and write. Trivially copyable: it travels inside the step plan to
// the backend, is updated there by the functions of this folder, and travels back; a request on the
// host mirrors it.
#pragma once

#include <type_traits>

#include "decide/platform.h"

namespace diffulex::decide {

inline constexpr int kMaxBufferBlocks = 32;
inline constexpr int kMaxStopTokens = 16;

enum BlockStatus : uint8_t {
  kDummy = 0,    // occupies a slot, is neither query nor key
  kActive = 1,   // being denoised; its keys and values are not stored
  kToCache = 2,  // tokens are final; the next forward stores their keys and values
  kInCache = 3,  // readable from pages; has left the window
};

struct BlockState {
  uint8_t status;           // BlockStatus
  uint8_t commit_ready;     // the sampler lets the block leave ACTIVE
  uint16_t editable_start;  // first offset that may be written: > 0 only where a prompt ends inside
                            // the block
  uint16_t masks;           // masks left at positions below Window::limit
  uint16_t steps;           // forwards that the block entered as ACTIVE
  uint16_t revealed;        // tokens the last forward wrote here
  uint16_t edits;           // visible tokens rewritten so far (mask-filling samplers: 0)
};

enum FinishReason : int32_t {  // values of diffulex_finish
  kRunning = 0,
  kEos = 1,
  kStopToken = 2,
  kStopString = 3,  // set by the host
  kMaxTokens = 4,
  kContext = 5,
  kMaxSteps = 6,
  kRepetition = 7,
  kDeadline = 8,  // set by the host between two steps
  kSamplerFault = 10,
  kOutOfMemory = 11,  // set by the host: what the request needed beside the step was not there
};

// The in-flight window of one request: slot i holds block [left + i*b, left + (i+1)*b). Statuses
// match T* A* D*.
struct Window {
  int32_t left;   // absolute position of slot 0 = length of the committed-and-stored prefix once
                  // prefilled
  int32_t valid;  // slots that are not DUMMY
  int32_t prompt_len;    // P
  int32_t limit;         // no output at or behind this position: min(P + max_tokens, max_model_len)
  int32_t limit_reason;  // kMaxTokens or kContext: which of the two it is
  int32_t first_stop;  // lowest position that holds a stop token, -1 = none so far (tentative until
                       // its block commits)
  int32_t stop_index;  // which of MultiBlockParams::stop_tokens that is
  int32_t forwards;    // forwards the request took part in, whatever was computed
  int32_t denoise_forwards;  // those with at least one ACTIVE block
  int32_t max_forwards;      // limit on window_forwards; 0 = none
  int32_t finish;            // FinishReason
  int32_t committed_end;     // positions [P, committed_end) are final
  int32_t revealed;          // masks filled by the last forward
  int32_t run_token;         // the last final output token
  int32_t run_length;        // how many final output tokens end with it, all equal
  int32_t window_forwards;  // forwards that covered the window: their number does not depend on how
                            // prompts are cut and rebuilt
  BlockState blocks[kMaxBufferBlocks];
};

// What a strategy built on rolling blocks decides with. Thresholds on progress are turned into
// counts on the host, so that host and device compare integers: progress >= t  <=>  filled >=
// count.
struct MultiBlockParams {
  int32_t block_size;     // b
  int32_t buffer_blocks;  // B
  int32_t mask_token;
  int32_t
      add_block_fill;  // a successor is added when the last block has this many filled positions
  int32_t semi_fill;   // a block with this many filled positions opens the gate of the next one
  float accept_threshold;  // tokens with confidence above it are accepted
  int32_t force_always;    // 1: a block accepts its best token even when its gate is closed
  int32_t stop_count;
  int32_t eos_count;  // the first eos_count of stop_tokens end with kEos, the rest with kStopToken
  int32_t stop_tokens[kMaxStopTokens];
  int32_t max_repetition_run;  // so many equal output tokens in a row end the request; 0 = no limit
  int32_t shift;               // 1: the row of position p - 1 predicts position p
};

enum Rank : int32_t {    // what orders the forced choice
  kRankProbability = 0,  // of the chosen token
  kRankMargin = 1,       // of the most probable token over the second
  kRankNegEntropy = 2,   // sum of p ln p
};

// How one logit is changed before everything else, see decide::adjusted.
struct LogitAdjust {
  int32_t token;
  float bias;     // added; -infinity bans the token
  float penalty;  // of repetition; 1 = none
};

struct SamplerParams {
  float temperature;  // <= 0: greedy
  float top_p;        // >= 1: off
  int32_t top_k;      // <= 0: off
  uint32_t flags;     // SamplerFlags
  uint64_t seed;
  float min_p = 0;  // least share of the most probable token's probability; <= 0: off
  int32_t rank = kRankProbability;
  float repetition_penalty = 1;  // of tokens that the text holds already; 1: off
  uint32_t reserved = 0;
};
enum SamplerFlags : uint32_t {
  kWantEntropy = 1,  // also needed for kRankNegEntropy
  kWantMargin = 2,   // needed for kRankMargin
};

// What the head and the selection say about one row.
struct Pick {
  int32_t token;     // -1: the row had no finite logit
  float confidence;  // probability of token in the distribution it was chosen from
  float entropy;     // nats, of the whole distribution; 0 unless kWantEntropy
  float rank;        // orders the forced choice, see Rank

  Pick() = default;
  DIFFULEX_HD constexpr Pick(int32_t token_, float confidence_, float entropy_)
      : token(token_), confidence(confidence_), entropy(entropy_), rank(confidence_) {}
};

enum MaskMode : int32_t {
  kBlockCausal = 0,  // keys up to the end of the query's own block of `granularity` positions
  kPrefixFull =
      1,  // prompt rows see the whole prompt; padded rows the padded prompt; the rest block-causal
  kPrefixCausal = 2,  // token-causal
  kCacheOnly = 3,     // cached keys only
  kUnmasked = 4,      // every key
};

// Which keys the rows of one request see. All positions are absolute.
struct AttentionRule {
  int32_t mode;         // MaskMode
  int32_t granularity;  // of block-causal, normally the block size
  int32_t prompt_len;   // P, for kPrefixFull and the hole
  int32_t padded_len;   // P', likewise
  int32_t hole;         // 1: cached keys in [P, P') are hidden
};

static_assert(std::is_trivially_copyable_v<Window> && sizeof(BlockState) == 12);
static_assert(std::is_trivially_copyable_v<MultiBlockParams> &&
              std::is_trivially_copyable_v<AttentionRule>);
static_assert(std::is_trivially_copyable_v<Pick> && std::is_trivially_copyable_v<LogitAdjust>);

}  // namespace diffulex::decide
