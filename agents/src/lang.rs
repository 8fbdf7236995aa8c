//! Language of a text and the search terms in it, for mixed Latin and Chinese writing.

/// Characters that only one of the two Chinese scripts uses, traditional beside simplified.
const PAIRS: &str = "萬万與与專专業业東东絲丝丟丢兩两嚴严喪丧個个豐丰臨临為为麗丽舉举麼么義义烏乌樂乐喬乔習习鄉乡書书買买亂乱爭争於于虧亏雲云亞亚產产畝亩親亲億亿僅仅從从侖仑倉仓儀仪們们價价眾众優优會会傘伞偉伟傳传傷伤倫伦偽伪體体餘余傭佣僑侨側侧偵侦償偿儲储兒儿黨党蘭兰關关興兴養养獸兽內内岡冈冊册寫写軍军農农馮冯沖冲決决況况凍冻淨净準准減减幾几鳳凤憑凭凱凯擊击鑿凿劃划劉刘則则剛刚創创刪删別别製制劑剂劍剑劇剧勸劝辦办務务動动勵励勁劲勞劳勢势勳勋勻匀區区醫医華华協协單单賣卖盧卢衛卫廠厂廳厅歷历厲厉壓压厭厌廁厕廂厢縣县參参雙双發发變变敘叙葉叶號号嘆叹嚇吓嗎吗啟启吳吴員员響响問问啞哑嘗尝喚唤囑嘱團团園园圍围國国圖图圓圆聖圣場场壞坏塊块堅坚壇坛墳坟墜坠壟垄壘垒墾垦塵尘墻墙聲声殼壳處处備备復复夠够頭头夾夹奪夺奮奋獎奖婦妇媽妈嬰婴孫孙學学寧宁寶宝實实寵宠審审憲宪賓宾寢寝對对尋寻導导將将爾尔嘗尝堯尧屆届層层屬属歲岁嶺岭島岛峽峡幣币帥帅師师帳帐幟帜帶带幫帮廣广慶庆庫库應应廟庙廢废開开異异棄弃張张彌弥彎弯彈弹強强歸归當当錄录徹彻徑径憶忆憂忧懷怀態态憐怜總总戀恋惡恶惱恼懸悬驚惊懼惧慘惨慣惯憤愤願愿戲戏戰战戶户撲扑執执擴扩掃扫揚扬擾扰撫抚拋抛搶抢護护報报擬拟擁拥攔拦擇择掛挂揮挥撈捞損损換换據据攝摄擺摆攜携數数敵敌斂敛斬斩斷断時时暫暂曬晒曉晓機机殺杀雜杂權权條条來来楊杨極极構构槍枪楓枫櫃柜標标棧栈棟栋樹树樣样橋桥檢检樓楼歐欧歡欢殘残毀毁畢毕氣气漢汉湯汤溝沟沒没淪沦滄沧滬沪淚泪潑泼澤泽潔洁濃浓測测濟济渾浑漁渔潤润漲涨淵渊漸渐溫温灣湾濕湿滅灭燈灯爐炉點点煉炼燒烧煩烦熱热愛爱爺爷牽牵狀状猶犹獨独獄狱獻献獲获環环現现瑪玛電电畫画療疗瘋疯皺皱盤盘監监蓋盖盜盗礦矿碼码磚砖確确禮礼禍祸離离種种積积稱称穩稳窮穷竊窃競竞筆笔築筑簡简籃篮籠笼類类糧粮緊紧糾纠紅红約约級级紀纪純纯紗纱納纳紙纸紛纷線线練练組组細细織织終终紹绍經经結结給给絕绝統统繼继績绩續续維维綜综綠绿網网緒绪編编緣缘縮缩繪绘繳缴罰罚羅罗職职聯联聰聪肅肃腸肠膚肤腎肾腫肿脅胁脈脉膽胆勝胜腦脑臉脸艦舰艙舱艱艰藝艺節节蘇苏蘋苹範范薦荐獲获營营藥药蕭萧薩萨蟲虫蠟蜡補补裝装襲袭裏里見见規规視视覽览覺觉觸触計计訂订認认討讨讓让訓训議议記记講讲許许論论設设訪访證证評评識识訴诉診诊詞词譯译試试詩诗誠诚話话該该詳详語语誤误說说請请諾诺課课調调談谈謀谋謝谢謹谨譜谱貝贝負负貢贡財财責责賢贤敗败貨货質质販贩貪贪購购貫贯貴贵貸贷貿贸費费賀贺資资賊贼賴赖贈赠贏赢趕赶趙赵躍跃車车軌轨轉转輪轮軟软輕轻載载較较輔辅輛辆輝辉輸输辭辞邊边達达遷迁過过運运還还這这進进遠远違违連连遲迟適适選选遺遗鄧邓鄭郑鄰邻釋释針针釘钉鋼钢鑰钥錢钱鑽钻鐵铁鈴铃鉛铅銀银銷销鎖锁鍋锅錯错鍵键鎮镇長长門门閃闪閉闭閒闲間间聞闻閱阅隊队陽阳陰阴陣阵階阶際际陸陆陳陈險险隨随隱隐難难霧雾靜静頂顶項项順顺須须顧顾頓顿預预領领頻频題题顏颜額额風风飛飞飯饭飲饮飾饰餅饼館馆馬马馳驰駕驾駐驻驗验騎骑騙骗魚鱼鮮鲜鳥鸟鴨鸭鵝鹅麥麦黃黄齊齐齒齿齡龄龍龙龜龟";

/// Tells whether a character is a Chinese ideograph.
pub fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Returns `en`, `zh-Hant` or `zh-Hans`. Chinese without a telling character counts as traditional.
pub fn detect(text: &str) -> &'static str {
    let cjk = text.chars().filter(|c| is_cjk(*c)).count();
    let latin = text.split_whitespace().filter(|w| w.chars().all(char::is_alphabetic)).count();
    if cjk == 0 || cjk * 2 < latin {
        return "en";
    }
    let (mut traditional, mut simplified) = (0, 0);
    for c in text.chars().filter(|c| is_cjk(*c)) {
        match PAIRS.chars().position(|p| p == c) {
            Some(index) if index % 2 == 0 => traditional += 1,
            Some(_) => simplified += 1,
            None => {}
        }
    }
    if simplified > traditional { "zh-Hans" } else { "zh-Hant" }
}

/// Returns the simplified form of a traditional character, or the character itself.
pub fn fold(c: char) -> char {
    use std::collections::HashMap;
    use std::sync::OnceLock;
    static MAP: OnceLock<HashMap<char, char>> = OnceLock::new();
    let map = MAP.get_or_init(|| {
        let chars: Vec<char> = PAIRS.chars().collect();
        chars.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    });
    map.get(&c).copied().unwrap_or(c)
}

/// A search term and the byte span that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Folded text: lower case, plural `s` cut, Chinese in simplified script.
    pub text: String,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Splits a text into search terms: Latin words folded, Chinese as overlapping pairs of characters
/// (and a single character where it stands alone).
pub fn terms(text: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let end_of = |i: usize| chars.get(i).map_or(text.len(), |(at, _)| *at);
    let mut i = 0;
    while i < chars.len() {
        let (start, c) = chars[i];
        if is_cjk(c) {
            let lone = (i == 0 || !is_cjk(chars[i - 1].1))
                && chars.get(i + 1).is_none_or(|(_, next)| !is_cjk(*next));
            if lone {
                terms.push(Term { text: fold(c).to_string(), start, end: end_of(i + 1) });
            } else if let Some((_, next)) = chars.get(i + 1).filter(|(_, next)| is_cjk(*next)) {
                let pair = [fold(c), fold(*next)].iter().collect();
                terms.push(Term { text: pair, start, end: end_of(i + 2) });
            }
            i += 1;
        } else if c.is_alphanumeric() {
            let mut j = i;
            while j < chars.len() && chars[j].1.is_alphanumeric() && !is_cjk(chars[j].1) {
                j += 1;
            }
            let end = end_of(j);
            terms.push(Term { text: stem(&text[start..end].to_lowercase()), start, end });
            i = j;
        } else {
            i += 1;
        }
    }
    terms
}

/// Words that say nothing of what a question is about, as [`terms`] folds them.
const STOP: &str = " a an and are as at be by can could do does for from give get have how i if in is it its me my of on or our over per please shall should show tell than that the their then there these they this to under us was we were what when where which who why will with would you your much many make need want 请问 请帮 帮我 多少 什么 怎么 如何 我们 你们 一下 可以 是否 是什 么是 怎样 ";

/// Tells whether a term is too common to search for.
pub fn is_stop(term: &str) -> bool {
    term.len() < 2 || STOP.contains(&format!(" {term} "))
}

/// Cuts the commonest English endings, so that `loans` finds `loan` and `matched` finds `match`.
fn stem(word: &str) -> String {
    for (ending, keep) in
        [("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")]
    {
        if let Some(root) = word.strip_suffix(ending)
            && root.len() >= 4 - keep.len()
            && root.is_ascii()
            && !root.ends_with('s')
            && (ending != "es" || root.ends_with(['h', 'x', 'z', 'o']))
        {
            return format!("{root}{keep}");
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_a_request_is_told_by_its_characters() {
        assert_eq!(detect("What is the rate?"), "en");
        assert_eq!(detect("我們工廠用電多少"), "zh-Hant");
        assert_eq!(detect("我们工厂用电多少"), "zh-Hans");
        assert_eq!(detect("請幫我算 loan schedule"), "zh-Hant");
    }

    #[test]
    fn every_pair_has_two_characters() {
        assert_eq!(PAIRS.chars().count() % 2, 0);
    }

    #[test]
    fn common_words_are_not_searched_for() {
        assert!(is_stop("the") && is_stop("多少") && !is_stop("loan") && !is_stop("贷款"));
    }

    #[test]
    fn both_scripts_give_the_same_terms() {
        let texts = |t: &str| terms(t).into_iter().map(|t| t.text).collect::<Vec<_>>();
        assert_eq!(texts("貸款 loans"), texts("贷款 loan"));
        assert_eq!(texts("matching queries"), ["match", "query"]);
    }
}
