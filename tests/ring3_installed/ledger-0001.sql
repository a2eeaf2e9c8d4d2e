-- A ledger as version 0.1.0-0 left it: migration 0001 alone, tokens of each kind in several states, from scripts/demo-story with
-- simulated tokens. Never to be made anew: later versions are tested against what stands here.
-- Sealing key: f4ba4c0008b2422848309e759ddaa2fb33be30318e8eea494c5ff33f9d5de586
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO "_sqlx_migrations" VALUES(1,'ledger','2026-11-25 19:43:28',1,X'7D1C59C617A35FFF0382146048107EBC1E3654773CCA18F130D89A56ED24B2EB0D871BDF9A0688EAC97A0AEBBFDDD02F',1564335);
CREATE TABLE head (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL,
    last  BLOB    NOT NULL,
    mac   BLOB    NOT NULL
) STRICT;
INSERT INTO "head" VALUES(1,25,X'A6D42AC4A01B452A7E4938DCE6E6DD02073DB953C77571C5683888DEDF72B32A',X'F6ECCAD43F5B00EEF1C769ED0C2545152272B36C8357032230102625BE08D864');
CREATE TABLE intents (
    operation TEXT    NOT NULL PRIMARY KEY,
    verb      TEXT    NOT NULL,
    token     TEXT,
    phase     TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    salt      BLOB    NOT NULL,
    started   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    seq     INTEGER NOT NULL PRIMARY KEY,
    payload TEXT    NOT NULL,
    mac     BLOB    NOT NULL
) STRICT;
INSERT INTO "journal" VALUES(1,'{"at":1795635808355,"authority":{"action":"register","case":null,"operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5","origin":"session","uid":0},"detail":{"kind":"fido2","reality":"virtual"},"event":"token.register-begun","mutations":[{"binding":{"type":"none"},"do":"insert","failures":0,"kind":"fido2","model":"Nitrokey 3","offset_ms":0,"personal":"3d90222d73f84116412f1b31391ee54099420f11f7e61b10698575aec882bc02","reality":"virtual","sign_count":0,"state":"pending","token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"},{"detail":"d267794dc050b9d8bad4d81b6f3e82c72a94381bd938c1a3065a992495855af0","do":"begin","operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5","phase":"begun","started":1795635808355,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4","verb":"register"}],"seq":1,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'32F2DFD30D234BF58E735A008E61EA62B21C0C7D61BEA65246DB99C8957B3CAF');
INSERT INTO "journal" VALUES(2,'{"at":1795635808367,"authority":{"action":"register","case":null,"operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5","origin":"session","uid":0},"event":"token.creating","mutations":[{"detail":"d267794dc050b9d8bad4d81b6f3e82c72a94381bd938c1a3065a992495855af0","do":"phase","operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5","phase":"creating"}],"seq":2,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'59575EAE20DE41E5AB0FBD2C15C712157243A89B419AE4525B252FD3E2EB5DED');
INSERT INTO "journal" VALUES(3,'{"at":1795635808370,"authority":{"action":"register","case":null,"operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5","origin":"session","uid":0},"event":"token.created","mutations":[{"binding":{"aaguid":"2cd2f727-f6ca-44da-8f48-5c2e5da000a2","credential_id":"AV_-JieHJojId3v6ih-YwCtHJU6eGRXd_Zxd6FvIkjTOk2idVmoeSvKVChNcCRICKKIaLIhWqp25PQbpRwIp9A","discoverable":true,"public_key":"pQECAyYgASFYIG6VpzAp8be8XYT6GWLPepFuF-2neJue1hXkvOX9NyZIIlgg0MA4BBPh9bvdjDKOEVMMMWa3KGedsEJeI__ASPCtGKQ","rp_id":"claviger.invalid","type":"fido2"},"do":"bind","token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4","unique":"19ce04d2f13eb0fca06d61db786264e2bf26794247fe41f08726e3e48781e28d"},{"do":"phase","operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5","phase":"created"}],"seq":3,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'513E4BDBFBCFF7D94D7ACF01ECEB77E49FE6B57BF65E7F7B6013800E46B4786D');
INSERT INTO "journal" VALUES(4,'{"at":1795635808373,"authority":{"action":"register","case":null,"operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5","origin":"session","uid":0},"detail":{"kind":"fido2"},"event":"token.registered","mutations":[{"do":"transition","to":"active","token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"},{"do":"count","seen":1795635808373,"to":2,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"},{"do":"end","end":"completed","operation":"01a2143c-0861-726f-ab2d-65a8c6bbe3b5"}],"seq":4,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'9DF2340567F55FC273F1690F91BA21DB21F6B1BD5A1CA4DB6FAF75CDE6AE1758');
INSERT INTO "journal" VALUES(5,'{"at":1795635808402,"authority":{"action":"test","case":null,"operation":"01a2143c-088c-7312-a5ab-d618827e4795","origin":"session","uid":0},"event":"test.passed","mutations":[{"do":"count","seen":1795635808402,"to":4,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}],"seq":5,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'6388A70E3242101DE1C06FBC430620A37A8C46645B9FAD90263CB2EA204AD04E');
INSERT INTO "journal" VALUES(6,'{"at":1795635808411,"authority":{"action":"revoke","case":null,"operation":"01a2143c-089a-7098-a8f7-d3613e24d453","origin":"session","uid":0},"detail":{"reason":"leaver"},"event":"token.revoked","mutations":[{"do":"transition","reason":"leaver","to":"revoked","token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"},{"created":1795635808411,"discharged":null,"do":"oblige","duty":{"credential_id":"AV_-JieHJojId3v6ih-YwCtHJU6eGRXd_Zxd6FvIkjTOk2idVmoeSvKVChNcCRICKKIaLIhWqp25PQbpRwIp9A","duty":"delete-credential","public_key":"pQECAyYgASFYIG6VpzAp8be8XYT6GWLPepFuF-2neJue1hXkvOX9NyZIIlgg0MA4BBPh9bvdjDKOEVMMMWa3KGedsEJeI__ASPCtGKQ","rp_id":"claviger.invalid"},"id":"01a2143c-089b-70ce-aa40-16a60d76cc1a","proven":null,"reality":"virtual","token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"},{"detail":"8ba1aac309371e3c213122308dec9c6e863571b243da211abbbb239400dd2c22","do":"begin","operation":"01a2143c-089a-7098-a8f7-d3613e24d453","phase":"dead","started":1795635808411,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4","verb":"revoke"}],"seq":6,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'AD26728232CDD53FFF84BA605EDBFD4DAFA51AB167A55A6D0EF2043759A29A79');
INSERT INTO "journal" VALUES(7,'{"at":1795635808417,"authority":{"action":"revoke","case":null,"operation":"01a2143c-089a-7098-a8f7-d3613e24d453","origin":"session","uid":0},"detail":{"obligation":"01a2143c-089b-70ce-aa40-16a60d76cc1a"},"event":"obligation.proven","mutations":[{"at":1795635808417,"do":"prove","id":"01a2143c-089b-70ce-aa40-16a60d76cc1a"}],"seq":7,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'28843B05BFF35BD4C293E7E87878BA0F150E4CF6EADB0618A1DA1ED740E1777C');
INSERT INTO "journal" VALUES(8,'{"at":1795635808420,"authority":{"action":"revoke","case":null,"operation":"01a2143c-089a-7098-a8f7-d3613e24d453","origin":"session","uid":0},"detail":{"by":"device","obligation":"01a2143c-089b-70ce-aa40-16a60d76cc1a"},"event":"obligation.discharged","mutations":[{"at":1795635808420,"do":"discharge","id":"01a2143c-089b-70ce-aa40-16a60d76cc1a"},{"do":"end","end":"completed","operation":"01a2143c-089a-7098-a8f7-d3613e24d453"}],"seq":8,"token":"01a2143c-0862-70c6-8fb3-8c73bc472fa4"}',X'398B345224DD9532883AD9094FFD6CB37FEBD8F52992B443C4DE8FCE9F83A5BF');
INSERT INTO "journal" VALUES(9,'{"at":1795635808454,"authority":{"action":"register","case":null,"operation":"01a2143c-08c6-7596-a324-1680c3dcee1a","origin":"session","uid":0},"detail":{"kind":"oath-card","reality":"virtual"},"event":"token.register-begun","mutations":[{"binding":{"algorithm":"SHA1","device_id":"","digits":6,"name":"Claviger:1681b28f41d6","period_s":30,"type":"oath-card"},"do":"insert","failures":0,"kind":"oath-card","model":"Generic OATH Card","offset_ms":0,"personal":"1ccaf511a2ea2a7db8fb16d86cd2e7f30e73c9598909f3b2e89a8cf56b78b961","reality":"virtual","seed":"aaef603f07a1c6acd502f6793a02faa6e1116bf3ad9a0f708ef26d277f78b95a","sign_count":0,"state":"pending","token":"01a2143c-08c6-7596-a324-1681b28f41d6"},{"detail":"d3842c9aab80b5caf6b602871044b0367fbc286313a555cb9c4eac447b649da6","do":"begin","operation":"01a2143c-08c6-7596-a324-1680c3dcee1a","phase":"begun","started":1795635808454,"token":"01a2143c-08c6-7596-a324-1681b28f41d6","verb":"register"}],"seq":9,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"}',X'C4E351A2501338CD0845784C80E9DE22E16B7908CFD9D7A1DBC7513677D2788B');
INSERT INTO "journal" VALUES(10,'{"at":1795635808456,"authority":{"action":"register","case":null,"operation":"01a2143c-08c6-7596-a324-1680c3dcee1a","origin":"session","uid":0},"event":"token.writing","mutations":[{"binding":{"algorithm":"SHA1","device_id":"zM8XjHJo3loOd6YHF2oNOw","digits":6,"name":"Claviger:1681b28f41d6","period_s":30,"type":"oath-card"},"do":"bind","token":"01a2143c-08c6-7596-a324-1681b28f41d6"},{"do":"phase","operation":"01a2143c-08c6-7596-a324-1680c3dcee1a","phase":"creating"}],"seq":10,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"}',X'5F25E869F829ED330D8B06B4CFE40DEA5803C961D3C291FE77A0B0B651937DF1');
INSERT INTO "journal" VALUES(11,'{"at":1795635808457,"authority":{"action":"register","case":null,"operation":"01a2143c-08c6-7596-a324-1680c3dcee1a","origin":"session","uid":0},"detail":{"kind":"oath-card"},"event":"token.registered","mutations":[{"do":"transition","to":"active","token":"01a2143c-08c6-7596-a324-1681b28f41d6"},{"do":"seen","seen":1795635808457,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"},{"do":"end","end":"completed","operation":"01a2143c-08c6-7596-a324-1680c3dcee1a"}],"seq":11,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"}',X'A89B04FCE55F5614774E7740E9001791BD808FBA8C1097F4DD37E3BB35B4DA63');
INSERT INTO "journal" VALUES(12,'{"at":1795635808500,"authority":{"action":"test","case":null,"operation":"01a2143c-08f1-700e-9a0b-e08e4e8d0301","origin":"session","uid":0},"event":"test.passed","mutations":[{"do":"seen","seen":1795635808500,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"}],"seq":12,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"}',X'BA22D781E8752BD020695244B4210E6B254419CAD0163B61D7D177C70BA096EE');
INSERT INTO "journal" VALUES(13,'{"at":1795635808538,"authority":{"action":"revoke","case":null,"operation":"01a2143c-0919-71a6-b214-88eee2e56d11","origin":"session","uid":0},"detail":{"reason":"damaged"},"event":"token.revoked","mutations":[{"do":"transition","reason":"damaged","to":"revoked","token":"01a2143c-08c6-7596-a324-1681b28f41d6"},{"do":"destroy-seed","token":"01a2143c-08c6-7596-a324-1681b28f41d6"},{"created":1795635808538,"discharged":null,"do":"oblige","duty":{"device_id":"zM8XjHJo3loOd6YHF2oNOw","duty":"delete-oath","name":"Claviger:1681b28f41d6","proofs":[[18070994249317008972,"799518"],[8300585010688237554,"180455"],[4286609210822580028,"229775"]]},"id":"01a2143c-091a-7384-a627-289371fac12e","proven":null,"reality":"virtual","token":"01a2143c-08c6-7596-a324-1681b28f41d6"},{"detail":"50f01f586e3de4f074852da9b665f363fd66b72cd0b9f94df3f6b76a3176dc64","do":"begin","operation":"01a2143c-0919-71a6-b214-88eee2e56d11","phase":"dead","started":1795635808538,"token":"01a2143c-08c6-7596-a324-1681b28f41d6","verb":"revoke"}],"seq":13,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"}',X'4EB028B6092757D4E33E7A567BF1251E25C4B21463DEB01C7796CC5592AA80B4');
INSERT INTO "journal" VALUES(14,'{"at":1795635808563,"authority":{"action":"revoke","case":null,"operation":"01a2143c-0919-71a6-b214-88eee2e56d11","origin":"session","uid":0},"detail":{"by":"device","obligation":"01a2143c-091a-7384-a627-289371fac12e"},"event":"obligation.discharged","mutations":[{"at":1795635808563,"do":"discharge","id":"01a2143c-091a-7384-a627-289371fac12e"},{"do":"end","end":"completed","operation":"01a2143c-0919-71a6-b214-88eee2e56d11"}],"seq":14,"token":"01a2143c-08c6-7596-a324-1681b28f41d6"}',X'B7D298731B07F52F90FFEA7F347EC7F018FBB8F6E15DA7C6E9ECD5C1F4F482E4');
INSERT INTO "journal" VALUES(15,'{"at":1795635808581,"authority":{"action":"register","case":null,"operation":"01a2143c-0945-72cc-8eae-f05d19cf0c52","origin":"session","uid":0},"detail":{"kind":"fob","offset_s":null,"state":"pending","unsynchronised":false},"event":"token.registered","mutations":[{"binding":{"algorithm":"SHA1","digits":6,"period_s":30,"type":"fob"},"do":"insert","failures":0,"kind":"fob","model":"display fob","offset_ms":0,"personal":"18d715727dff36022de23f44dadf2dff5e1599e424f349760d30abbd05bd9d32","reality":"hardware","seed":"e3f502baaedca77e07e78ea9fb13a7076881feffcb077ced543a8fd65c6bb965","sign_count":0,"state":"pending","token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b","unique":"ea674aff7b4b6c03a6c11959095fd8d3fc7e226c2f7963a18d4a9e2e78a02749"}],"seq":15,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}',X'226AE06A2F23B2FFC9F8E62F3737770D89630B9F75B3A64C6F242C9AD44F358F');
INSERT INTO "journal" VALUES(16,'{"at":1795635808607,"authority":{"action":"test","case":null,"operation":"01a2143c-095e-76e5-a5d2-f65ea48dafff","origin":"session","uid":0},"detail":{"why":"needs-resync"},"event":"test.failed","mutations":[{"do":"fail","token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}],"seq":16,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}',X'C8171A5CAC0C8E8F9C12A9C219CD72D8824FA78147CAFF062376FE2ED19EA204');
INSERT INTO "journal" VALUES(17,'{"at":1795635808635,"authority":{"action":"resync","case":null,"operation":"01a2143c-0975-74a3-9464-862dee35a8eb","origin":"session","uid":0},"detail":{"beyond_bound":false,"codes":2,"offset_after_ms":-543629,"offset_before_ms":0,"unsynchronised":false},"event":"resync.applied","mutations":[{"do":"advance","offset_ms":-543629,"seen":1795635808629,"to":59854508,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"},{"do":"transition","to":"active","token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}],"seq":17,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}',X'C225173B426853D8A83AF95341ECBB58A2AB6141A5EC5CCFFA625B5243DBA3F0');
INSERT INTO "journal" VALUES(18,'{"at":1795635808665,"authority":{"action":"test","case":null,"operation":"01a2143c-0998-7437-8ac8-d6fdb0142145","origin":"session","uid":0},"detail":{"offset_ms":-513665},"event":"test.passed","mutations":[{"do":"advance","offset_ms":-513665,"seen":1795635808665,"to":59854509,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}],"seq":18,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}',X'26E87F4EDC460A6C2119B37D7B646B592534265D60B6D0818AF70361F2724A4A');
INSERT INTO "journal" VALUES(19,'{"at":1795635808676,"authority":{"action":"test","case":null,"operation":"01a2143c-09a3-727c-8e3b-c833ecc1bb3c","origin":"session","uid":0},"detail":{"why":"code"},"event":"test.failed","mutations":[{"do":"fail","token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}],"seq":19,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}',X'780F71B0AF9B6EEC8396C566361971496A3E54A6DCED98F36A2B5050EF04109B');
INSERT INTO "journal" VALUES(20,'{"at":1795635808682,"authority":{"action":"revoke","case":null,"operation":"01a2143c-09aa-7091-ab21-1b399eaf33b0","origin":"session","uid":0},"detail":{"reason":"lost"},"event":"token.revoked","mutations":[{"do":"transition","reason":"lost","to":"revoked","token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"},{"do":"destroy-seed","token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"},{"created":1795635808682,"discharged":null,"do":"oblige","duty":{"duty":"collect-fob"},"id":"01a2143c-09aa-7091-ab21-1b3a40b3fd94","proven":null,"reality":"hardware","token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"},{"detail":"e7f40e8f7a1acc88dd9c124790cd8491b4765cfe58e04d4994dae6e263d87101","do":"begin","operation":"01a2143c-09aa-7091-ab21-1b399eaf33b0","phase":"dead","started":1795635808682,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b","verb":"revoke"}],"seq":20,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}',X'3D5FE23BBAF620A0772AA65143D3DA5024F9EE073CFC39F57D029E0DDE17B800');
INSERT INTO "journal" VALUES(21,'{"at":1795635808692,"authority":{"action":"revoke","case":null,"operation":"01a2143c-09aa-7091-ab21-1b399eaf33b0","origin":"session","uid":0},"detail":{"end":"obliged","phase":"dead","verb":"revoke"},"event":"operation.concluded","mutations":[{"do":"end","end":"obliged","operation":"01a2143c-09aa-7091-ab21-1b399eaf33b0"}],"seq":21,"token":"01a2143c-0945-72cc-8eae-f05ea03cdb3b"}',X'289FE93B31BFCA5B912459DA9BA55E5C117CEBDC94934030EC5D88AD8BF9BEE8');
INSERT INTO "journal" VALUES(22,'{"at":1795635808753,"authority":{"action":"register","case":null,"operation":"01a2143c-09f1-770e-9c84-3887d6c56acd","origin":"session","uid":0},"detail":{"kind":"fob","offset_s":null,"state":"pending","unsynchronised":false},"event":"token.registered","mutations":[{"binding":{"algorithm":"SHA1","digits":6,"period_s":30,"type":"fob"},"do":"insert","failures":0,"kind":"fob","model":"display fob","offset_ms":0,"personal":"38f02dccc4e979a5b8e157f22420b130ed0a1657ac8c005a573a3aecb0c36341","reality":"hardware","seed":"0c66eebcdd924ed95ca1f7f7fd8863413a1207de281d590c85b98f4799a023be","sign_count":0,"state":"pending","token":"01a2143c-09f1-770e-9c84-3888acc230e7","unique":"0a8583246b5b0999b753a248a3bdb433b35ee611b503f135746fa9dd9598e189"}],"seq":22,"token":"01a2143c-09f1-770e-9c84-3888acc230e7"}',X'9E49EA87761F0839785640DD2B099F2BB8EE6AA3AFDB94488B138B67D8D950B0');
INSERT INTO "journal" VALUES(23,'{"at":1795635808809,"authority":{"action":"register","case":null,"operation":"01a2143c-0a28-707c-9cd6-12fce6b39b48","origin":"session","uid":0},"detail":{"kind":"oath-card","reality":"virtual"},"event":"token.register-begun","mutations":[{"binding":{"algorithm":"SHA1","device_id":"","digits":6,"name":"Claviger:88d296c2657e","period_s":30,"type":"oath-card"},"do":"insert","failures":0,"kind":"oath-card","model":"Generic OATH Card","offset_ms":0,"personal":"9b5c0aa7ba7fec4e1120fd1de3711f7c02d9912c779c647d620c155dfcba281a","reality":"virtual","seed":"ee630f8080e6ef2ad3353be1b10ed77145167467384f1ebaa456df1d495e6386","sign_count":0,"state":"pending","token":"01a2143c-0a29-73bb-9fe2-88d296c2657e"},{"detail":"c07ba7f59009c0dd3d0278efedf0ed4be56084f715a60ed904e47dcadb30e2c8","do":"begin","operation":"01a2143c-0a28-707c-9cd6-12fce6b39b48","phase":"begun","started":1795635808809,"token":"01a2143c-0a29-73bb-9fe2-88d296c2657e","verb":"register"}],"seq":23,"token":"01a2143c-0a29-73bb-9fe2-88d296c2657e"}',X'4BF886E0B4256CDD83217A2B729554E173E10CB0F6C81EC6D408D1F53061D1F8');
INSERT INTO "journal" VALUES(24,'{"at":1795635808811,"authority":{"action":"register","case":null,"operation":"01a2143c-0a28-707c-9cd6-12fce6b39b48","origin":"session","uid":0},"event":"token.writing","mutations":[{"binding":{"algorithm":"SHA1","device_id":"zM8XjHJo3loOd6YHF2oNOw","digits":6,"name":"Claviger:88d296c2657e","period_s":30,"type":"oath-card"},"do":"bind","token":"01a2143c-0a29-73bb-9fe2-88d296c2657e"},{"do":"phase","operation":"01a2143c-0a28-707c-9cd6-12fce6b39b48","phase":"creating"}],"seq":24,"token":"01a2143c-0a29-73bb-9fe2-88d296c2657e"}',X'7E28EDB107CC93DEE4C82252F3A43EA8093E15453E508B6FB26CD1606936FF49');
INSERT INTO "journal" VALUES(25,'{"at":1795635808812,"authority":{"action":"register","case":null,"operation":"01a2143c-0a28-707c-9cd6-12fce6b39b48","origin":"session","uid":0},"detail":{"kind":"oath-card"},"event":"token.registered","mutations":[{"do":"transition","to":"active","token":"01a2143c-0a29-73bb-9fe2-88d296c2657e"},{"do":"seen","seen":1795635808812,"token":"01a2143c-0a29-73bb-9fe2-88d296c2657e"},{"do":"end","end":"completed","operation":"01a2143c-0a28-707c-9cd6-12fce6b39b48"}],"seq":25,"token":"01a2143c-0a29-73bb-9fe2-88d296c2657e"}',X'A6D42AC4A01B452A7E4938DCE6E6DD02073DB953C77571C5683888DEDF72B32A');
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('key_id',X'FECF79B70FA2ECF2');
INSERT INTO "meta" VALUES('ledger_id',X'EE52935031BFBA75EAC146F5BD7C43B0');
CREATE TABLE obligations (
    id         TEXT    NOT NULL PRIMARY KEY,
    token      TEXT    NOT NULL REFERENCES tokens (id),
    duty       TEXT    NOT NULL,
    reality    TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    proven     INTEGER,
    discharged INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO "obligations" VALUES('01a2143c-089b-70ce-aa40-16a60d76cc1a','01a2143c-0862-70c6-8fb3-8c73bc472fa4','{"credential_id":"AV_-JieHJojId3v6ih-YwCtHJU6eGRXd_Zxd6FvIkjTOk2idVmoeSvKVChNcCRICKKIaLIhWqp25PQbpRwIp9A","duty":"delete-credential","public_key":"pQECAyYgASFYIG6VpzAp8be8XYT6GWLPepFuF-2neJue1hXkvOX9NyZIIlgg0MA4BBPh9bvdjDKOEVMMMWa3KGedsEJeI__ASPCtGKQ","rp_id":"claviger.invalid"}','virtual',1795635808411,1795635808417,1795635808420);
INSERT INTO "obligations" VALUES('01a2143c-091a-7384-a627-289371fac12e','01a2143c-08c6-7596-a324-1681b28f41d6','{"device_id":"zM8XjHJo3loOd6YHF2oNOw","duty":"delete-oath","name":"Claviger:1681b28f41d6","proofs":[[18070994249317008972,"799518"],[8300585010688237554,"180455"],[4286609210822580028,"229775"]]}','virtual',1795635808538,NULL,1795635808563);
INSERT INTO "obligations" VALUES('01a2143c-09aa-7091-ab21-1b3a40b3fd94','01a2143c-0945-72cc-8eae-f05ea03cdb3b','{"duty":"collect-fob"}','hardware',1795635808682,NULL,NULL);
CREATE TABLE personal (
    token   TEXT NOT NULL PRIMARY KEY REFERENCES tokens (id),
    subject TEXT,
    serial  TEXT,
    label   TEXT,
    salt    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "personal" VALUES('01a2143c-0862-70c6-8fb3-8c73bc472fa4','alice','SIM0001',NULL,X'463B956B87A3CDF164210F29ADB68091');
INSERT INTO "personal" VALUES('01a2143c-08c6-7596-a324-1681b28f41d6','bob',NULL,NULL,X'81E4D35C6DC0B4F88AE27B399F5BACFF');
INSERT INTO "personal" VALUES('01a2143c-0945-72cc-8eae-f05ea03cdb3b','carol','10000001',NULL,X'BAF4698CDD6155F7E6FB1A7400BB3F6B');
INSERT INTO "personal" VALUES('01a2143c-09f1-770e-9c84-3888acc230e7','dora','20000002',NULL,X'AF0B157F9AEFF9FD76D864F1D31C893C');
INSERT INTO "personal" VALUES('01a2143c-0a29-73bb-9fe2-88d296c2657e','erin',NULL,NULL,X'5BE55C025865CEDC28837A8E160000F0');
CREATE TABLE seeds (
    token       TEXT    NOT NULL PRIMARY KEY REFERENCES tokens (id),
    key_id      BLOB    NOT NULL,
    key_version INTEGER NOT NULL,
    nonce       BLOB    NOT NULL,
    sealed      BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "seeds" VALUES('01a2143c-09f1-770e-9c84-3888acc230e7',X'FECF79B70FA2ECF2',1,X'6D2F3055E440D80E06E8D038BA7BA98542B08EB90A4901BF',X'572A1D5C55BB2E5B63FFB2C92BAF91ACDD10973E66E004CEB28B59E3EE14F0ABF69C26BC');
INSERT INTO "seeds" VALUES('01a2143c-0a29-73bb-9fe2-88d296c2657e',X'FECF79B70FA2ECF2',1,X'7F031DECEB18956FD49F7BCCE49F5EF54FAA358F3553DF9A',X'123C5B8A999A8AEC6E771E17DFCBC7613EEA8C60EBD89594711A52C87E3278A39C360136');
CREATE TABLE tokens (
    id            TEXT    NOT NULL PRIMARY KEY,
    kind          TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    revoke_reason TEXT,
    reality       TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    binding       TEXT    NOT NULL,
    body          TEXT,
    unique_tag    BLOB,
    offset_ms     INTEGER NOT NULL,
    watermark     INTEGER,
    sign_count    INTEGER NOT NULL,
    last_seen     INTEGER,
    failures      INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    updated       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "tokens" VALUES('01a2143c-0862-70c6-8fb3-8c73bc472fa4','fido2','revoked','leaver','virtual','Nitrokey 3','{"aaguid":"2cd2f727-f6ca-44da-8f48-5c2e5da000a2","credential_id":"AV_-JieHJojId3v6ih-YwCtHJU6eGRXd_Zxd6FvIkjTOk2idVmoeSvKVChNcCRICKKIaLIhWqp25PQbpRwIp9A","discoverable":true,"public_key":"pQECAyYgASFYIG6VpzAp8be8XYT6GWLPepFuF-2neJue1hXkvOX9NyZIIlgg0MA4BBPh9bvdjDKOEVMMMWa3KGedsEJeI__ASPCtGKQ","rp_id":"claviger.invalid","type":"fido2"}','AV_-JieHJojId3v6ih-YwCtHJU6eGRXd_Zxd6FvIkjTOk2idVmoeSvKVChNcCRICKKIaLIhWqp25PQbpRwIp9A',NULL,0,NULL,4,1795635808402,0,1795635808355,1795635808411);
INSERT INTO "tokens" VALUES('01a2143c-08c6-7596-a324-1681b28f41d6','oath-card','revoked','damaged','virtual','Generic OATH Card','{"algorithm":"SHA1","device_id":"zM8XjHJo3loOd6YHF2oNOw","digits":6,"name":"Claviger:1681b28f41d6","period_s":30,"type":"oath-card"}','zM8XjHJo3loOd6YHF2oNOw',NULL,0,NULL,0,1795635808500,0,1795635808454,1795635808538);
INSERT INTO "tokens" VALUES('01a2143c-0945-72cc-8eae-f05ea03cdb3b','fob','revoked','lost','hardware','display fob','{"algorithm":"SHA1","digits":6,"period_s":30,"type":"fob"}',NULL,NULL,-513665,59854509,0,1795635808665,1,1795635808581,1795635808682);
INSERT INTO "tokens" VALUES('01a2143c-09f1-770e-9c84-3888acc230e7','fob','pending',NULL,'hardware','display fob','{"algorithm":"SHA1","digits":6,"period_s":30,"type":"fob"}',NULL,X'1AF768C8E972DA63AECBA82F664CDBD0019E97F6E234780DC05FB6434A695291',0,NULL,0,NULL,0,1795635808753,1795635808753);
INSERT INTO "tokens" VALUES('01a2143c-0a29-73bb-9fe2-88d296c2657e','oath-card','active',NULL,'virtual','Generic OATH Card','{"algorithm":"SHA1","device_id":"zM8XjHJo3loOd6YHF2oNOw","digits":6,"name":"Claviger:88d296c2657e","period_s":30,"type":"oath-card"}','zM8XjHJo3loOd6YHF2oNOw',NULL,0,NULL,0,1795635808812,0,1795635808809,1795635808812);
CREATE UNIQUE INDEX tokens_unique ON tokens (unique_tag) WHERE unique_tag IS NOT NULL;
CREATE INDEX tokens_body ON tokens (body) WHERE body IS NOT NULL;
CREATE INDEX tokens_state ON tokens (state);
CREATE INDEX personal_subject ON personal (subject) WHERE subject IS NOT NULL;
CREATE INDEX personal_serial ON personal (serial) WHERE serial IS NOT NULL;
CREATE INDEX obligations_open ON obligations (created, id) WHERE discharged IS NULL;
CREATE INDEX obligations_age ON obligations (created, id);
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is only ever added to'); END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is only ever added to'); END;
CREATE TRIGGER tokens_no_delete BEFORE DELETE ON tokens
BEGIN SELECT RAISE(ABORT, 'a token is revoked, never deleted'); END;
CREATE TRIGGER tokens_watermark BEFORE UPDATE OF watermark ON tokens
WHEN OLD.watermark IS NOT NULL AND (NEW.watermark IS NULL OR NEW.watermark < OLD.watermark)
BEGIN SELECT RAISE(ABORT, 'a watermark never goes down'); END;
CREATE TRIGGER tokens_final BEFORE UPDATE OF state ON tokens WHEN OLD.state = 'revoked' AND NEW.state <> 'revoked'
BEGIN SELECT RAISE(ABORT, 'revoked is final'); END;
CREATE TRIGGER tokens_fixed BEFORE UPDATE OF id, kind, reality, created ON tokens
BEGIN SELECT RAISE(ABORT, 'this is fixed when the token is inserted'); END;
COMMIT;
