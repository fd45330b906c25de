//! Keys as certbot has them.

use super::*;

// Made by josepy, which is certbot's; so are the names and thumbprints. They are the keys of nothing.
const RSA: &str = "{\"n\":\"lyCMAGQ3RxHrKp_ewh_OiiueDksnoj1Lf7fpEVuzf9miId4Q_D3IXshmmfUtQSrLAS42dVlHG_0F46bkRbisbPUxk6MsLW7oisIdaBtH\
     5JQqqMHlWvRc_BKJ7FwOdXL_Nhndxr2SZCDB27NOBxkpmkNxUDQy2BR3Iidy9b2H0KE8oWXQqGWO11sxzGX_tHerRwd_f14K1rcGteXNPHgdMW\
     jtQRzOCO7WWkHHESfaOQsFYD7EZCtADGwhu-e4wDRn9d0HgaUevbdS7E6cPA9PPQcrpqH7Fh0FaZll3NMV7fLsay3qYnPjAMXJFP1Q2XYs_c9D\
     nDf_cxXllRSewG9HuQ\",\"e\":\"AQAB\",\"d\":\"Cmk_a9QmQLr5yJpx4KK1-lZ4kYMuQaLXstPrIPsrGamBs16Wgfde-In1aNwh7XrdYwFELCpl19\
     uYTm9pYL-RAAKWPesATfL1idWclqxGdCHxnGWbKicVHs0c0Pp4iTEjvB46ZTNwbyht4neZmQCWmUjVzhDX2INJv8HC-C3sj3vo99WWm-26-KZl\
     iv4rovMUz4RIzFymYl8Vc-N1Zpu7wa6eyPaBBrPf4LBiPWO_YXitZ-P19Ef4eYa_yBtW_zlqcreJzQFYxfNUj1pSEtJXZecKMrHDfDPPWzGMYe\
     kBqln-5SCWkla12xM-aBo8y0PF9FOYDoFQBopJGGzhtxxQ3w\",\"p\":\"zkx41ItB6aXwpWGFOlI6MpdpJBhWUUykdY0wH2nC4BBwtRlrGdIIJZ-\
     QPmL2YbOW9GoqM0FUpKsAORCqZ-_5Y1Dw8Q8xse2YGQ-IXp6brEVcCPXra-izDclrVEqpnm1Vh_UjSCC9Km1B3sTHN3oC9lV1wVaaZ_44pArwD\
     -pNj5c\",\"q\":\"u4laW1DEG625UMX1KFJobWWR4jZrrSh_6tWz-JJHBvlGl8JjndMJIdsG8zU9OwZox7LNMoi1Kqg9MoMzdmmiHIldprt0rPRUa\
     9z4XCaDwX9Bg05_fdGuhq9CNmHgiMkgpL6mPbps_OoOR1KfWAdGT9_4tzxEZc2pLVA7g6g6zS8\",\"dp\":\"mp4oJazlzteHQHyR3P9KDSb8L4hq\
     EW7vCAe03KZo34SS5LjTU7veTUyFUKzdWqa-ahuz20yIww5DEYITJelvMee1Xgb0SRX5XDcPD1Oy-2_Upgai1vLGWHvxDHEVJd9uLoMlWWboQI\
     c4yl0TrtmspLGymyBsg6q_CvwDpvoF_as\",\"dq\":\"rn2kVuaVMXO4w5ENBFF43KDu1d3w3hKawrPIWnYwJCr4Jeg2q_hZvOiAVPaqXCsgfv68s\
     lJEzsXu-vrcfUbYEVk2jBZK_0nu6tWVOJiVawquuC_nq_fXPXYAU31KX7tT5jWFlFXLZp-YXYBgxpUuNM-eKU-oDFkJGiJW3a8_1v0\",\"qi\":\"\
     CgEemNPlzeQsChddMUe6ZeWg6WgsoYmdK6dXtccWcQilxIS2czX46fXUg8jzga2sjK-OOUGSTL2BYPoNld09rTt4ztNjm19B64TW8bCL4HBpzG\
     kwtir_RUj6bYEKYUlspLs5xvHmZBb4cWgEPKikU6Vg1v5aL_nlJjbdmlXO7Sg\",\"kty\":\"RSA\"}";
const EC: &str = "{\"d\":\"u3CmdDTEKmq_RlDnNM_lCmdl84cRmGR8n2b3cVs5sWk\",\"x\":\"FH4gpjBvR93eB-yclJOy9p7VxnKzB68MS00EQMUZkBY\",\"y\":\"6OwU\
     t2QDd9bz5ssyUekPw7XGVGlI9zaPgWpfOW20QXw\",\"crv\":\"P-256\",\"kty\":\"EC\"}";
const RSA_SIGNATURE: &str = "ST4oD0_Ixh8vObmgLzvdr8x0zKeYCeePOOwggo3jNfITw99G2CP1yr_CbKcBuDPIYBTy7T1X1UXJM9TO0n16krXp7yhbW4u3JNkd3MOR0WD5_B\
     fGIuScJ4rrXTGTRvp5aaFqD2WzKGnZhsF0lnz8Imu1KPhiuZVRtj5XEsGEB5FIq074CrCwsIF7a8F3ojldEqzjKW7SXqf3uFy-\
     QUz1KVgW2wPd1XWNR8HEsPxHhYWnKgMa-wxuVN187h9FF4wkgsG8eS-\
     JOJ1rmFLvcHQBkh32RniZCjvii3xyZSZqu1YZT4X9xIho9OleEEVYl_TMoNeeY6gXPRzBREEKCfyy_w";

#[test]
fn certbots_keys_have_certbots_names_and_thumbprints() {
    for (text, id, thumbprint) in [
        (RSA, "3b4be0f476ecab40b131a2a30fecc7fa", "nbIyLR8EG0Ebf1n5YyXohm2gAMD1-H9w6xfQP_Ncjws"),
        (EC, "c053de01ec32f8188fc6c684f173658d", "7sNtStICK2bCXK_yAtf6Wg5Chj8fJOMgAW6rVytGCJ0"),
    ] {
        let key = AccountKey::parse(text.as_bytes()).unwrap();
        assert_eq!((key.id().as_str(), key.thumbprint().as_str()), (id, thumbprint));
        assert!(key.public().get("d").is_none());
        assert!(!format!("{key:?}").contains(key.private()["d"].as_str().unwrap()));
    }
}

#[test]
fn an_rsa_key_signs_as_others_do() {
    let signed = AccountKey::parse(RSA.as_bytes()).unwrap().jws(Map::new(), "b").unwrap();
    assert_eq!(signed["protected"], BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#));
    assert_eq!(signed["signature"], RSA_SIGNATURE);
}

#[test]
fn a_new_key_is_one_that_can_be_stored_and_read() {
    let key = AccountKey::generate().unwrap();
    let again = AccountKey::parse(key.private().to_string().as_bytes()).unwrap();
    assert_eq!((key.id(), key.thumbprint()), (again.id(), again.thumbprint()));
    let signed = again.jws(Map::new(), "b").unwrap();
    let message = format!("{}.b", signed["protected"].as_str().unwrap());
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signed["signature"].as_str().unwrap()).unwrap();
    let Pair::Es256(pair) = &key.pair else { panic!("a new key is of P-256") };
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, pair.public_key());
    public.verify(message.as_bytes(), &signature).unwrap();
}

#[test]
fn what_is_no_key_is_told_apart() {
    let changed = |text: &str, name: &str, value: Value| {
        let mut key: Value = serde_json::from_str(text).unwrap();
        key[name] = value;
        key.to_string()
    };
    for damaged in [
        String::new(),
        "{}".to_owned(),
        changed(EC, "d", Value::Null),
        changed(EC, "d", "AQ".into()),
        changed(EC, "crv", "P-521".into()),
        changed(EC, "x", "AA".into()),
        changed(RSA, "p", "AQAB".into()),
        changed(RSA, "n", "%".into()),
        changed(RSA, "kty", "oct".into()),
    ] {
        assert_eq!(AccountKey::parse(damaged.as_bytes()).err(), Some(KeyError), "{damaged}");
    }
}
