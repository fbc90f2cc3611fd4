// Weights that are cut, lie about themselves, or belong to another model.
#include <filesystem>

#include "errors_checkpoint.h"

namespace diffulex_tests::errors {
namespace {

using nlohmann::json;

constexpr const char* kNorm = "model.norm.weight";
constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";

std::string sound_file() { return safetensors_file(TinyCheckpoint().tensors); }

Outcomes weights_fail(const std::vector<std::string>& contents) {
  Outcomes outcomes;
  for (const std::string& content : contents) outcomes = outcomes + file_fails(kWeights, content);
  return outcomes;
}

Outcomes cut_header() {
  const std::string file = sound_file();
  return weights_fail({file.substr(0, 8), file.substr(0, 9), file.substr(0, 500)});
}

// Which tensor lies behind the end depends on where the file is cut.
Outcomes cut_data() {
  const std::string file = sound_file();
  return damaged_fails(kNorm, [&](const TempDir& dir) {
    TinyCheckpoint checkpoint;
    const TestTensor norm = checkpoint.tensor(kNorm);
    std::erase_if(checkpoint.tensors, [](const TestTensor& t) { return t.name == kNorm; });
    checkpoint.tensors.push_back(norm);
    std::string content = safetensors_file(checkpoint.tensors);
    content.pop_back();
    write_file(dir / kWeights, content);
  });
}

// The sound file after a change of the header's text, with or without a truthful length.
Outcomes header_fails(const std::string& culprit, const std::function<void(json&)>& change) {
  const std::string file = sound_file();
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(file[i]);
  json header = json::parse(file.substr(8, length));
  change(header);
  return damaged_fails(culprit, [&](const TempDir& dir) {
    write_file(dir / kWeights, safetensors_file(header.dump(), file.substr(8 + length)));
  });
}

Outcomes entry_fails(const char* key, const json& value) {
  return header_fails(kQuery, [&](json& header) { header[kQuery][key] = value; });
}

Outcomes overlap() {
  return header_fails(kQuery, [](json& header) {
    json& offsets = header[kQuery]["data_offsets"];  // one float into the tensor before
    offsets = {offsets[0].get<uint64_t>() - 4, offsets[1].get<uint64_t>() - 4};
  });
}

Outcomes offsets_outside() {
  const auto moved = [](uint64_t by) {
    return header_fails(kQuery, [=](json& header) {
      json& offsets = header[kQuery]["data_offsets"];
      offsets = {offsets[0].get<uint64_t>() + by, offsets[1].get<uint64_t>() + by};
    });
  };
  return moved(1 << 20) + moved(uint64_t{1} << 62) + entry_fails("data_offsets", {8, 4}) +
         entry_fails("data_offsets", {0, UINT64_MAX});
}

Outcomes entry_malformed() {
  Outcomes outcomes;
  for (const char* key : {"dtype", "shape", "data_offsets"})
    outcomes = outcomes + entry_fails(key, nullptr) + entry_fails(key, 7) +
               header_fails(kQuery, [&](json& header) { header[kQuery].erase(key); });
  return outcomes + entry_fails("shape", {-64, 64}) + entry_fails("shape", {6.4, 64}) +
         entry_fails("data_offsets", {0}) + entry_fails("data_offsets", {-4, 4}) +
         header_fails(kQuery, [](json& header) { header[kQuery] = "text"; });
}

Outcomes name_twice() {
  const std::string entry = R"("a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})";
  std::string header = "{";
  header.append(entry).append(", ").append(entry).append("}");
  return weights_fail({safetensors_file(header, std::string(8, '\0'))});
}

Outcomes tensors_fail(const std::string& culprit,
                      const std::function<void(TinyCheckpoint&)>& change) {
  const TempDir dir;
  TinyCheckpoint checkpoint;
  change(checkpoint);
  checkpoint.write(dir.path());
  return {create_fails(dir.path(), culprit)};
}

Outcomes missing_tensor() {
  Outcomes outcomes;
  for (const TestTensor& tensor : TinyCheckpoint().tensors) {
    if (tensor.name == "lm_head.weight") continue;  // then the embedding is the head
    outcomes = outcomes + tensors_fail(tensor.name, [&](TinyCheckpoint& checkpoint) {
                 std::erase_if(checkpoint.tensors,
                               [&](const TestTensor& t) { return t.name == tensor.name; });
               });
  }
  return outcomes;
}

Outcomes misshaped_tensor() {
  Outcomes outcomes;
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{64, 32}, {32, 64}, {4096}, {64, 64, 1}, {}, {0, 64}})
    outcomes = outcomes + tensors_fail(kQuery, [&](TinyCheckpoint& checkpoint) {
                 checkpoint.tensor(kQuery) = TinyCheckpoint::zeros(kQuery, shape);
               });
  return outcomes;
}

Outcomes extra_tensor() {
  constexpr const char* kExtra = "model.layers.1.self_attn.q_proj.weight";
  return tensors_fail(kExtra, [](TinyCheckpoint& checkpoint) {
    checkpoint.tensors.push_back(TinyCheckpoint::zeros(kExtra, {64, 64}));
  });
}

// A wrapper's prefix does not make another tensor of it.
Outcomes wrapped_twin() {
  return tensors_fail("model.norm.weight", [](TinyCheckpoint& checkpoint) {
    checkpoint.tensors.push_back(TinyCheckpoint::zeros("module.model.norm.weight", {64}));
  });
}

Outcomes no_weights() {
  Outcomes outcomes;
  const TempDir dir;
  TinyCheckpoint().write(dir.path());
  std::filesystem::remove(dir / kWeights);
  return {create_fails(dir.path(), dir.path())};
}

Outcomes directory_as_weights() {
  return damaged_fails(kWeights, [](const TempDir& dir) {
    std::filesystem::remove(dir / kWeights);
    std::filesystem::create_directory(dir / kWeights);
  });
}

// Weights of another format, and what training leaves beside them.
Outcomes foreign_weights() {
  Outcomes outcomes;
  for (const char* name : {"model.gguf", "pytorch_model.bin", "model.pth", "model.pt", "model.ckpt",
                           "tf_model.h5", "flax_model.msgpack", "weights.npz"})
    outcomes = outcomes + damaged_fails(name, [&](const TempDir& dir) {
                 std::filesystem::remove(dir / kWeights);
                 write_file(dir / "training_args.bin", "x");
                 write_file(dir / name, "x");
               });
  return outcomes;
}

Outcomes dangling_link() {
  return damaged_fails(kWeights, [](const TempDir& dir) {
    std::filesystem::remove(dir / kWeights);
    std::filesystem::create_symlink("nowhere", dir / kWeights);
  });
}

Outcomes quantized_tensors() {
  Outcomes outcomes;
  for (const char* suffix : {"qweight", "qzeros", "scales", "g_idx", "weight_scale",
                             "weight_scale_inv", "weight_packed", "SCB", "absmax", "W_q"}) {
    const std::string name = std::string("model.layers.0.self_attn.q_proj.") + suffix;
    outcomes = outcomes + tensors_fail(name, [&](TinyCheckpoint& checkpoint) {
                 checkpoint.tensors.push_back(TinyCheckpoint::zeros(name, {64}));
               });
  }
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "I8", "U8"})
    outcomes = outcomes + tensors_fail(kQuery, [&](TinyCheckpoint& checkpoint) {
                 checkpoint.tensor(kQuery).dtype = dtype;
                 checkpoint.tensor(kQuery).bytes.resize(64 * 64);
               });
  return outcomes;
}

}  // namespace

void add_safetensors_cases(Cases* cases) {
  Cases& c = *cases;
  c["weights-missing"] = no_weights;
  c["weights-foreign"] = foreign_weights;
  c["weights-pointer"] = [] {
    return weights_fail({"version https://git-lfs.example/spec/v1\noid sha256:00\nsize 1234567\n"});
  };
  c["weights-link"] = dangling_link;
  c["tensor-quantized"] = quantized_tensors;
  c["weights-are-directory"] = directory_as_weights;
  c["weights-empty"] = [] { return weights_fail({"", "1234567"}); };
  c["header-cut"] = cut_header;
  c["header-past-end"] = [] { return weights_fail({safetensors_header(3) + "{}"}); };
  c["header-too-long"] = [] {
    return weights_fail(
        {safetensors_header(100'000'001) + "{}", safetensors_header(UINT64_MAX) + "{}"});
  };
  c["header-no-json"] = [] {
    return weights_fail({safetensors_file("{\"a\": ", ""), safetensors_file("[]", ""),
                         safetensors_file("", ""), safetensors_file("  {}", ""),
                         safetensors_file("{} {}", "")});
  };
  c["header-name-twice"] = name_twice;
  c["data-cut"] = cut_data;
  c["tensor-overlap"] = overlap;
  c["tensor-outside"] = offsets_outside;
  c["tensor-size"] = [] { return entry_fails("shape", {64, 63}) + entry_fails("dtype", "F64"); };
  c["tensor-shape-overflow"] = [] {
    return entry_fails("shape", {uint64_t{1} << 40, uint64_t{1} << 40});
  };
  c["tensor-dtype-unknown"] = [] { return entry_fails("dtype", "F33"); };
  c["tensor-dtype-unsupported"] = [] { return entry_fails("dtype", "I32"); };
  c["tensor-malformed"] = entry_malformed;
  c["tensor-missing"] = missing_tensor;
  c["tensor-shape"] = misshaped_tensor;
  c["tensor-extra"] = extra_tensor;
  c["tensor-twin"] = wrapped_twin;
}

// What the cases break is sound before, and what training leaves behind is ignored aloud.
TEST(Errors, ASoundCheckpointLoads) {
  const TempDir dir;
  TinyCheckpoint checkpoint;
  checkpoint.tensors.push_back(
      TinyCheckpoint::zeros("model.layers.0.self_attn.rotary_emb.inv_freq", {16}));
  checkpoint.write(dir.path());
  std::string lines;
  Session session({{"cpu_threads", "1"}}, {}, [&](auto& config) {
    config.model_dir = dir.path().c_str();
    config.log_user_data = &lines;
    config.log = [](const diffulex_log_record* record, void* out) {
      static_cast<std::string*>(out)->append(record->message).append("\n");
    };
  });
  EXPECT_NE(session.engine, nullptr) << session.failure.message;
  EXPECT_NE(lines.find("inv_freq"), std::string::npos) << lines;
}

}  // namespace diffulex_tests::errors
